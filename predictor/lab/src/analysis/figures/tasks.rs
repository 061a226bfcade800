//! Figures by kind of work and by signal.

use std::collections::BTreeMap;

use super::quantiles::quantiles;
use crate::analysis::trace::{End, Trace};
use crate::analysis::usefulness::Usefulness;
use crate::chart::axis::Axis;
use crate::chart::figure::Figure;
use crate::chart::palette::{PALETTE, RGBColor};
use crate::chart::panel::{Panel, Shape};
use crate::evaluation::permutation::{GroupLoss, Permutation, Scores};

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

fn legend() -> Vec<(String, RGBColor)> {
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
    let of_ended = |trace: &Trace| trace.steps.last().filter(|_| trace.end == End::Stopped)?.eos_prob();
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

/// One bar a row, from `zero` to its value.
fn bars(values: impl Iterator<Item = Option<f64>>, zero: f64) -> Vec<[(f64, f64); 2]> {
    let bar = |(i, value): (usize, Option<f64>)| {
        let (value, y) = (value?, i as f64);
        Some([(zero.min(value), y - 0.3), (zero.max(value), y + 0.3)])
    };
    values.enumerate().filter_map(bar).collect()
}

pub(super) fn usefulness(found: &[Usefulness]) -> Figure {
    let shown: Vec<&Usefulness> = found.iter().take(MOST).rev().collect();
    let rows = shown.len() as f64;
    let panel =
        |title: &str, label: &str, [low, high, zero]: [f64; 3], value: fn(&Usefulness) -> Option<f64>, color| {
            let values = bars(shown.iter().map(|one| value(one)), zero);
            Panel {
                title: title.to_owned(),
                x: Axis::linear(label, low, high),
                y: Axis::names("", shown.iter().map(|one| one.signal.clone())),
                shapes: vec![Shape::Bars(values, color, 0.85), Shape::Guide(vec![(zero, -0.6), (zero, rows - 0.4)])],
            }
        };
    let most = shown.iter().filter_map(|one| one.information).fold(0.1, f64::max) * 1.05;
    Figure {
        name: "signal-usefulness",
        title: "What each signal says alone",
        explanation: "Left: how well a signal alone tells steps with at most 16 tokens left from others (area under the ROC curve; 0.5 is \
                      nothing, above it high values tell of the end, below it low ones). Middle: whether it puts steps in the order of \
                      their remaining tokens (Kendall's tau; 0 is nothing). Right: how many bits it tells of them (mutual information, \
                      by bins), in whatever way. Every request weighs one on the left; 24 steps of each are looked at."
            .to_owned(),
        legend: vec![],
        panels: vec![
            panel("ends within 16 tokens", "AUROC", [0.0, 1.0, 0.5], |one| one.auroc, PALETTE[0]),
            panel("remaining length", "Kendall's tau", [-0.6, 0.6, 0.0], |one| one.tau, PALETTE[2]),
            panel("remaining length", "bits", [0.0, most, 0.0], |one| one.information, PALETTE[1]),
        ],
    }
}

pub(super) fn permutation(found: &Permutation) -> Figure {
    let shown: Vec<&GroupLoss> = found.groups.iter().rev().collect();
    let rows = shown.len() as f64;
    let panel = |title: &str, label: &str, value: fn(&Scores) -> Option<f64>, color| {
        let values: Vec<Option<f64>> = shown.iter().map(|group| value(&group.lost)).collect();
        let known = || values.iter().flatten().copied();
        let (low, high) = (known().fold(0.0, f64::min), known().fold(1e-3, f64::max));
        let margin = 0.05 * (high - low);
        Panel {
            title: title.to_owned(),
            x: Axis::linear(label, if low < 0.0 { low - margin } else { 0.0 }, high + margin),
            y: Axis::names("", shown.iter().map(|group| group.name.clone())),
            shapes: vec![
                Shape::Bars(bars(values.iter().copied(), 0.0), color, 0.85),
                Shape::Guide(vec![(0.0, -0.6), (0.0, rows - 0.4)]),
            ],
        }
    };
    Figure {
        name: "permutation-importance",
        title: "What the best model loses without a group of features",
        explanation: format!(
            "Each group of features of {} is taken from another request with as many tokens, at every step of {} requests \
             (permutation importance at equal age). Bars to the right: the group is of use. The model is not trained again, so what \
             another group could stand in for counts as lost too; it is a cheap stand-in for training without the group.",
            found.model, found.requests
        ),
        legend: vec![],
        panels: vec![
            panel("error of the remaining length", "MAE added (tokens)", |lost| lost.mae, PALETTE[0]),
            panel("order at half of the reply", "tau lost", |lost| lost.tau50, PALETTE[2]),
            panel("ends within 16 tokens", "AUROC lost", |lost| lost.auroc16, PALETTE[1]),
        ],
    }
}
