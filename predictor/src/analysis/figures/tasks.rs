//! Figures by kind of work and by signal.

use std::collections::BTreeMap;

use super::quantiles;
use crate::analysis::chart::{Axis, Figure, PALETTE, Panel, Shape};
use crate::analysis::trace::{End, Trace};
use crate::analysis::usefulness::Usefulness;

/// Rows of a figure; what has fewest requests is left out.
const MOST: usize = 24;

/// Boxes from the 10th to the 90th and from the 25th to the 75th percentile, and the median, one row a task.
fn by_task(traces: &[Trace], value: impl Fn(&Trace) -> Option<f64>) -> (Vec<String>, Vec<Shape>, [f64; 2]) {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for trace in traces {
        let task = trace.task.as_deref().unwrap_or("no task given");
        if let Some(value) = value(trace) {
            tasks.entry(task).or_default().push(value);
        }
    }
    let mut rows: Vec<(&str, usize, [f64; 5])> = tasks
        .into_iter()
        .filter_map(|(task, mut values)| {
            let count = values.len();
            quantiles(&mut values, [0.1, 0.25, 0.5, 0.75, 0.9]).map(|quantiles| (task, count, quantiles))
        })
        .collect();
    rows.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    rows.truncate(MOST);
    rows.sort_by(|a, b| a.2[2].total_cmp(&b.2[2]));
    let (mut wide, mut narrow, mut medians) = (vec![], vec![], vec![]);
    for (i, (_, _, [p10, p25, p50, p75, p90])) in rows.iter().enumerate() {
        let y = i as f64;
        wide.push([(*p10, y - 0.12), (*p90, y + 0.12)]);
        narrow.push([(*p25, y - 0.28), (*p75, y + 0.28)]);
        medians.push((*p50, y));
    }
    let low = rows.iter().map(|row| row.2[0]).fold(f64::INFINITY, f64::min);
    let high = rows.iter().map(|row| row.2[4]).fold(0.0, f64::max);
    let names = rows.iter().map(|(task, count, _)| format!("{} ({count})", shortened(task))).collect();
    let shapes = vec![
        Shape::Bars(wide, PALETTE[5], 0.6),
        Shape::Bars(narrow, PALETTE[0], 0.8),
        Shape::Marks(medians, PALETTE[1]),
    ];
    (names, shapes, [if low.is_finite() { low } else { 1.0 }, high])
}

fn shortened(name: &str) -> String {
    const LONGEST: usize = 28;
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

fn legend() -> Vec<(String, plotters::style::RGBColor)> {
    vec![
        ("median".to_owned(), PALETTE[1]),
        ("half of the requests".to_owned(), PALETTE[0]),
        ("80 % of the requests".to_owned(), PALETTE[5]),
    ]
}

pub(super) fn lengths(traces: &[Trace]) -> Figure {
    let (names, shapes, [low, high]) = by_task(traces, |trace| Some(f64::from(trace.length())));
    let cut = traces.iter().filter(|trace| trace.end == End::Cut).count();
    Figure {
        name: "length-by-task",
        title: "Reply length by task",
        explanation: format!(
            "Tokens of all replies, with the number of requests behind each task; {cut} of {} were cut at their limit and would have \
             been longer. What tasks differ by can be known on arrival; the width of each bar cannot.",
            traces.len()
        ),
        legend: legend(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::logarithmic("tokens", low.max(1.0), high.max(2.0)),
            y: Axis::names("", names),
            shapes,
        }],
    }
}

pub(super) fn final_probability(traces: &[Trace]) -> Figure {
    let of_ended = |trace: &Trace| trace.steps.last().filter(|_| trace.end == End::Stopped).map(|step| step.eos_prob());
    let (names, shapes, [low, _]) = by_task(traces, of_ended);
    Figure {
        name: "final-eos-probability-by-task",
        title: "EOS probability at the last step, by task",
        explanation:
            "Of replies that ended by themselves: how decided the model was about its ends in each kind of work."
                .to_owned(),
        legend: legend(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::logarithmic("EOS probability at the last step", low.max(1e-8), 1.0),
            y: Axis::names("", names),
            shapes,
        }],
    }
}

pub(super) fn usefulness(found: &[Usefulness]) -> Figure {
    let shown: Vec<&Usefulness> = found.iter().take(MOST).rev().collect();
    let bars = |value: &dyn Fn(&Usefulness) -> Option<f64>, zero: f64| {
        let bar = |(i, one): (usize, &&Usefulness)| {
            let value = value(one)?;
            let y = i as f64;
            Some([(zero.min(value), y - 0.3), (zero.max(value), y + 0.3)])
        };
        shown.iter().enumerate().filter_map(bar).collect::<Vec<_>>()
    };
    let rows = shown.len() as f64;
    let panel = |title: &str, label: &str, low: f64, high: f64, zero: f64, bars, color| Panel {
        title: title.to_owned(),
        x: Axis::linear(label, low, high),
        y: Axis::names("", shown.iter().map(|one| one.signal.clone())),
        shapes: vec![Shape::Bars(bars, color, 0.85), Shape::Guide(vec![(zero, -0.6), (zero, rows - 0.4)])],
    };
    Figure {
        name: "signal-usefulness",
        title: "What each signal says alone",
        explanation: "Left: how well a signal alone tells steps with at most 16 tokens left from others (area under the ROC curve; 0.5 is \
                      nothing, above it high values tell of the end, below it low ones). Right: whether it puts steps in the order of \
                      their remaining tokens (Kendall's tau; 0 is nothing). Every request weighs one; 24 steps of each are looked at."
            .to_owned(),
        legend: vec![],
        panels: vec![
            panel("ends within 16 tokens", "AUROC", 0.0, 1.0, 0.5, bars(&|one| one.auroc, 0.5), PALETTE[0]),
            panel("remaining length", "Kendall's tau", -0.6, 0.6, 0.0, bars(&|one| one.tau, 0.0), PALETTE[2]),
        ],
    }
}
