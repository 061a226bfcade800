//! Figures of the EOS probability itself.

use super::quantiles::quantiles;
use crate::analysis::trace::{End, Step, Trace};
use crate::chart::axis::Axis;
use crate::chart::figure::Figure;
use crate::chart::palette::PALETTE;
use crate::chart::panel::{Panel, Shape};

/// Probabilities below are drawn here.
const LEAST: f64 = 1e-10;

/// Requests shown one by one.
const SHOWN: usize = 4;

/// Fewest requests behind a point of a trend.
const FEWEST: usize = 8;

/// Ends in the order of legends.
const ENDS: [(End, &str); 3] = [
    (End::Stopped, "ended by itself"),
    (End::Cut, "cut at its limit"),
    (End::Unknown, "aborted, or its end is not known"),
];

pub(super) fn typical_requests(traces: &[Trace]) -> Figure {
    let mut ended: Vec<&Trace> = traces.iter().filter(|trace| trace.end == End::Stopped).collect();
    if ended.is_empty() {
        ended = traces.iter().collect();
    }
    ended.sort_by_key(|trace| trace.length());
    let place = |i: usize| ended.len() * (2 * i + 1) / (2 * SHOWN);
    let mut places: Vec<_> = (0..SHOWN).map(place).collect();
    places.dedup();
    let shown: Vec<&Trace> = places.into_iter().filter_map(|place| ended.get(place).copied()).collect();
    let panel = |(trace, color): (&Trace, _)| {
        let task = trace.task.as_ref().map_or_else(String::new, |task| format!(", {task}"));
        let point = |step: &Step| Some((f64::from(step.tokens), step.eos_prob()?));
        let points: Vec<_> = trace.steps.iter().filter_map(point).collect();
        let last = points.last().copied().into_iter().collect();
        Panel {
            title: format!("{} tokens{task}", trace.length()),
            x: Axis::linear("tokens generated", 0.0, f64::from(trace.length())),
            y: Axis::logarithmic("EOS probability", LEAST, 1.0),
            shapes: vec![Shape::Line(points, color), Shape::Marks(last, color)],
        }
    };
    Figure {
        name: "eos-probability-by-step",
        title: "EOS probability over the steps of typical requests",
        explanation: "Requests at an eighth, three eighths and so on of all lengths among those that ended by themselves; the dot is the \
                      last token. The axis is logarithmic: through most of a reply the end is next to impossible, with spikes where \
                      a sentence or a paragraph could be the last one."
            .to_owned(),
        legend: vec![],
        panels: shown.into_iter().zip(PALETTE).map(panel).collect(),
    }
}

pub(super) fn final_probability(traces: &[Trace]) -> Figure {
    const BINS: i32 = 40;
    let width = -LEAST.log10() / f64::from(BINS);
    let finals = |end: End| -> Vec<f64> {
        traces.iter().filter(|t| t.end == end).filter_map(|t| t.steps.last()?.eos_prob()).collect()
    };
    let mut highest = 0.0f64;
    let mut panels_of = |end: End| {
        let finals: Vec<f64> = finals(end);
        let bar = |bin: i32| {
            let edge = |i: i32| LEAST.log10() + width * f64::from(i);
            let within = |p: &&f64| {
                let place = ((p.max(LEAST).log10() - LEAST.log10()) / width) as i32;
                place.min(BINS - 1) == bin
            };
            let share = 100.0 * finals.iter().filter(within).count() as f64 / finals.len().max(1) as f64;
            highest = highest.max(share);
            [(10f64.powf(edge(bin)), 0.0), (10f64.powf(edge(bin + 1)), share)]
        };
        let mut bars: Vec<_> = (0..BINS).map(bar).collect();
        // Nothing is drawn of a bin that nobody is in, and the renderer would say so.
        bars.retain(|[_, (_, share)]| *share > 0.0);
        bars
    };
    let stopped = panels_of(End::Stopped);
    let cut = panels_of(End::Cut);
    let count = |end: End| finals(end).len();
    let panel = |title: String, bars, color| Panel {
        title,
        x: Axis::logarithmic("EOS probability at the last step", LEAST, 1.0),
        y: Axis::linear("% of requests", 0.0, highest * 1.05),
        shapes: vec![Shape::Bars(bars, color, 0.85)],
    };
    let stopped_title = format!("ended by itself ({} requests)", count(End::Stopped));
    let mut panels = vec![panel(stopped_title, stopped, PALETTE[0])];
    if count(End::Cut) > 0 {
        panels.push(panel(format!("cut at its limit ({} requests)", count(End::Cut)), cut, PALETTE[1]));
    }
    Figure {
        name: "final-eos-probability",
        title: "EOS probability at the last step",
        explanation: "How sure the model was at the step that drew the last token. Replies that ended by themselves drew EOS there, so \
                      that likely ends are common; but sampling also draws unlikely ones. Where a reply was cut, the last step is \
                      one like any other. Steps below 10⁻¹⁰ are counted there. Requests whose last step has no known EOS probability are \
                      left out."
            .to_owned(),
        legend: vec![],
        panels,
    }
}

/// Median and the range from the 10th to the 90th percentile of the EOS probability at places that grow with the length.
fn band(traces: &[&Trace], places: &[u32], step_at: impl Fn(&Trace, u32) -> Option<f64>) -> Vec<(f64, [f64; 3])> {
    let at = |place: &u32| {
        let mut values: Vec<f64> = traces.iter().filter_map(|trace| step_at(trace, *place)).collect();
        let enough = values.len() >= FEWEST.min(traces.len());
        quantiles(&mut values, [0.1, 0.5, 0.9]).filter(|_| enough).map(|band| (f64::from(*place), band))
    };
    places.iter().filter_map(at).collect()
}

pub(super) fn trend(traces: &[Trace]) -> Figure {
    let longest = traces.iter().map(Trace::length).max().unwrap_or(1);
    let ended: Vec<&Trace> = traces.iter().filter(|trace| trace.end == End::Stopped).collect();
    let all: Vec<&Trace> = traces.iter().collect();
    let at = |trace: &Trace, tokens: u32| {
        let found = trace.steps.binary_search_by_key(&tokens, |step| step.tokens).ok()?;
        Some(trace.steps[found].eos_prob()?.max(LEAST))
    };
    let stride = (longest / 100).max(1);
    let places: Vec<u32> = (1..=longest).step_by(stride as usize).collect();
    let by_step = band(&all, &places, at);
    let before: Vec<u32> = (0..=128.min(longest)).collect();
    let by_rest = band(&ended, &before, |trace, rest| at(trace, trace.length().checked_sub(rest)?));
    let panel = |title: &str, label: &str, points: &[(f64, [f64; 3])], color| {
        let last = points.last().map_or(1.0, |(x, _)| *x);
        Panel {
            title: title.to_owned(),
            x: Axis::linear(label, 0.0, last),
            y: Axis::logarithmic("EOS probability", LEAST, 1.0),
            shapes: vec![
                Shape::Band(points.iter().map(|(x, [low, _, high])| (*x, *low, *high)).collect(), color, 0.25),
                Shape::Line(points.iter().map(|(x, [_, median, _])| (*x, *median)).collect(), color),
            ],
        }
    };
    Figure {
        name: "eos-trend",
        title: "EOS probability against sequence length",
        explanation: format!(
            "The line is the median request, the band holds 80 % of them. Left, all requests by tokens generated, as far as {FEWEST} \
             requests are that long. Right, the {} requests that ended by themselves, by tokens left: how early the signal rises \
             before an end, and how far it lifts off from everywhere else.",
            ended.len()
        ),
        legend: vec![],
        panels: vec![
            panel("from the start", "tokens generated", &by_step, PALETTE[0]),
            panel("towards the end", "tokens left (0 is the last token)", &by_rest, PALETTE[2]),
        ],
    }
}

pub(super) fn mean_against_maximum(traces: &[Trace]) -> Figure {
    /// More dots hide each other and make the page slow.
    const MOST: usize = 4000;
    let stride = traces.len().div_ceil(MOST).max(1);
    let point = |trace: &Trace| {
        let known: Vec<f64> = trace.steps.iter().filter_map(Step::eos_prob).collect();
        let max = known.iter().copied().fold(0.0, f64::max);
        (!known.is_empty()).then(|| (known.iter().sum::<f64>() / known.len() as f64, max))
    };
    let of = |end: End| traces.iter().step_by(stride).filter(|t| t.end == end).filter_map(point).collect::<Vec<_>>();
    let ends: Vec<_> = ENDS
        .into_iter()
        .zip([PALETTE[0], PALETTE[4], PALETTE[8]])
        .map(|((end, name), color)| (of(end), name, color))
        .filter(|(points, ..)| !points.is_empty())
        .collect();
    let lowest = |axis: fn(&(f64, f64)) -> f64| {
        let least = ends.iter().flat_map(|(points, ..)| points).map(axis).fold(1.0, f64::min);
        10f64.powf(least.max(LEAST).log10().floor())
    };
    Figure {
        name: "mean-against-maximum",
        title: "Mean against maximum EOS probability",
        explanation: "Each dot is one request. Replies that ended by themselves reach a high maximum at their last step; the mean falls \
                      with their length, so that short replies lie to the right. A reply that was cut can have come close to an end \
                      before."
            .to_owned(),
        legend: ends.iter().map(|(points, name, color)| (format!("{name} ({})", points.len()), *color)).collect(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::logarithmic("mean EOS probability of the reply", lowest(|p| p.0), 1.0),
            y: Axis::logarithmic("maximum EOS probability", lowest(|p| p.1), 1.0),
            shapes: ends.into_iter().map(|(points, _, color)| Shape::Dots(points, color)).collect(),
        }],
    }
}
