//! Figures of models, from their evaluation.

use crate::chart::axis::Axis;
use crate::chart::figure::Figure;
use crate::chart::palette::{INK, RGBColor, colors};
use crate::chart::panel::{MOST_IN_LEGEND, Panel, Shape};
use crate::evaluation::example::Example;
use crate::evaluation::report::{EvaluationReport, ModelReport};
use crate::evaluation::reservation::Reserved;
use eoscast_forecast::age::AGE_NAMES;

/// Most lines that can be told apart.
const MOST: usize = 8;

/// What every other model is compared with.
const REFERENCES: [&str; 2] = ["prior", "length-only"];

/// Answers points, so that probabilities cannot be judged, or knows the truth.
fn is_point(model: &ModelReport) -> bool {
    ["mean", "max-tokens", "prompt"].contains(&model.name.as_str()) || model.name.starts_with("oracle")
}

/// The models drawn, best first, with their colours.
fn drawn(evaluation: &EvaluationReport) -> Vec<(&ModelReport, RGBColor)> {
    let mut models: Vec<_> = evaluation.models.iter().filter(|model| !is_point(model)).collect();
    let loss = |model: &ModelReport| model.pinball.unwrap_or(f64::INFINITY);
    models.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    // References stay, however many are better.
    let others = MOST - models.iter().filter(|model| REFERENCES.contains(&model.name.as_str())).count();
    let mut kept = 0;
    models.retain(|model| {
        let reference = REFERENCES.contains(&model.name.as_str());
        kept += usize::from(!reference);
        reference || kept <= others
    });
    let colors = colors(models.iter().map(|model| model.name.as_str()));
    models.into_iter().zip(colors).collect()
}

/// Empty where the lines carry their names.
fn legend(models: &[(&ModelReport, RGBColor)]) -> Vec<(String, RGBColor)> {
    if models.len() > MOST_IN_LEGEND {
        return vec![];
    }
    models.iter().map(|(model, color)| (model.name.clone(), *color)).collect()
}

/// One line a model.
fn lines(models: &[(&ModelReport, RGBColor)], points: impl Fn(&ModelReport) -> Vec<(f64, f64)>) -> Vec<Shape> {
    // The best is drawn last, on top of the others.
    let mut shapes: Vec<Shape> = models.iter().rev().map(|(model, color)| Shape::Line(points(model), *color)).collect();
    if models.len() > MOST_IN_LEGEND {
        shapes.extend(models.iter().filter_map(|(model, color)| Shape::name(&model.name, &points(model), *color)));
    }
    shapes
}

pub(super) fn reliability(evaluation: &EvaluationReport) -> Figure {
    let models = drawn(evaluation);
    let diagonal = |to: f64| Shape::Guide(vec![(0.0, 0.0), (to, to)]);
    let mut quantiles = vec![diagonal(1.0)];
    quantiles.extend(lines(&models, |model| {
        model.quantile_reliability.iter().flatten().map(|point| (point.forecast, point.observed)).collect()
    }));
    let mut endings = vec![diagonal(1.0)];
    endings.extend(lines(&models, |model| {
        let seen = model.ending_reliability.iter().filter(|point| point.weight > 5e-4);
        seen.map(|point| (point.forecast, point.observed)).collect()
    }));
    let panel = |title: &str, x: &str, y: &str, shapes| Panel {
        title: title.to_owned(),
        x: Axis::linear(x, 0.0, 1.0),
        y: Axis::linear(y, 0.0, 1.0),
        shapes,
    };
    Figure {
        name: "reliability",
        title: "Reliability: do forecast probabilities come true?",
        explanation: "On the diagonal, what was given a probability comes true as often. Left, quantiles of the remaining length: the share \
                      of replies that had no more left than the quantile said. Above the diagonal forecasts are too long, below too short. \
                      Right, the probability of an end within 16 tokens against how often it came, in groups with at least 0.05 % of all \
                      forecasts."
            .to_owned(),
        legend: legend(&models),
        panels: vec![
            panel("quantiles of the remaining length", "level of the quantile", "share of truths below", quantiles),
            panel("ends within 16 tokens", "forecast probability", "share that ended", endings),
        ],
    }
}

pub(super) fn coverage(evaluation: &EvaluationReport) -> Figure {
    let models = drawn(evaluation);
    let by_age = |values: &[Option<f64>; 5], scale: f64| {
        let point = |(i, value): (usize, &Option<f64>)| value.map(|value| (i as f64, scale * value));
        values.iter().enumerate().filter_map(point).collect::<Vec<_>>()
    };
    let mut covered = vec![Shape::Guide(vec![(-0.6, 90.0), (4.6, 90.0)])];
    covered.extend(lines(&models, |model| by_age(&model.coverage90_by_age, 100.0)));
    covered.extend(models.iter().map(|(model, color)| Shape::Marks(by_age(&model.coverage90_by_age, 100.0), *color)));
    let mut widths = lines(&models, |model| by_age(&model.width90_by_age, 1.0));
    widths.extend(models.iter().map(|(model, color)| Shape::Marks(by_age(&model.width90_by_age, 1.0), *color)));
    let all = |values: fn(&ModelReport) -> [Option<f64>; 5]| {
        models.iter().flat_map(move |(model, _)| values(model)).flatten().collect::<Vec<_>>()
    };
    let lowest = all(|model| model.coverage90_by_age).into_iter().fold(0.8, f64::min);
    let widest = all(|model| model.width90_by_age).into_iter().fold(1.0, f64::max);
    let ages = || Axis::names("tokens generated so far", AGE_NAMES.map(str::to_owned));
    Figure {
        name: "coverage",
        title: "Coverage and width of 90 % intervals",
        explanation: "Left, how often the truth lies within the interval that is to hold it in 90 % of all cases, by how many tokens were \
                      generated when it was given. Right, how wide the interval is on average: of two forecasters that keep their \
                      promise, the one with narrower intervals knows more."
            .to_owned(),
        legend: legend(&models),
        panels: vec![
            Panel {
                title: "coverage".to_owned(),
                x: ages(),
                y: Axis::linear("% of truths within", (20.0 * lowest).floor() * 5.0, 100.0),
                shapes: covered,
            },
            Panel {
                title: "width".to_owned(),
                x: ages(),
                y: Axis::linear("tokens", 0.0, widest * 1.05),
                shapes: widths,
            },
        ],
    }
}

pub(super) fn lead_time(evaluation: &EvaluationReport) -> Figure {
    /// Shares of false alarms beyond this are of no use.
    const MOST_FALSE: f64 = 30.0;
    let models = drawn(evaluation);
    // The longest lead that any threshold reaches without more false alarms: a stair, since there is nothing between thresholds.
    let best = |model: &ModelReport| {
        let mut alarms: Vec<_> =
            model.alarms.iter().map(|alarm| (100.0 * alarm.false_alarms, alarm.mean_lead)).collect();
        alarms.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut longest = 0.0f64;
        let mut points = vec![];
        for (share, lead) in alarms {
            if share <= MOST_FALSE && lead >= longest {
                points.extend([(share, longest), (share, lead)]);
                longest = lead;
            }
        }
        points.push((MOST_FALSE, longest));
        points
    };
    let longest = models.iter().flat_map(|(model, _)| best(model)).map(|(_, lead)| lead).fold(1.0, f64::max);
    Figure {
        name: "lead-time",
        title: "Lead time against false alarms",
        explanation: "An alarm is up while the probability of an end within 16 tokens is above a threshold; each point is a threshold. Lead \
                      time is how many tokens before the end it rises and stays up, averaged over replies that ended by themselves, \
                      with 0 where it is silent; a false alarm is a reply in which it falls again, or rises more than 64 tokens \
                      before the end. Higher and further left is better."
            .to_owned(),
        legend: legend(&models),
        panels: vec![Panel {
            title: String::new(),
            x: Axis::linear("replies with a false alarm (%)", 0.0, MOST_FALSE),
            y: Axis::linear("mean lead time (tokens)", 0.0, longest * 1.05),
            shapes: lines(&models, best),
        }],
    }
}

pub(super) fn frontier(evaluation: &EvaluationReport) -> Figure {
    const MOST_UNDER: f64 = 16.0;
    let models = drawn(evaluation);
    let points = |frontier: &[Reserved]| {
        let point = |r: &Reserved| (100.0 * r.under_allocated, 100.0 * r.over_reserved);
        frontier.iter().map(point).filter(|(under, _)| *under <= MOST_UNDER).collect::<Vec<_>>()
    };
    let panel = |title: &str, of: fn(&ModelReport) -> &[Reserved]| {
        let drawn = |from: f64| {
            let all = models.iter().flat_map(|(model, _)| points(of(model)));
            all.filter(|(under, _)| *under >= from).map(|(_, over)| over).fold(50.0, f64::max)
        };
        Panel {
            title: title.to_owned(),
            x: Axis::linear("replies under-allocated (%)", 0.0, MOST_UNDER),
            // Where nothing may be under-allocated, everything is reserved; that end of the line shows nothing else.
            y: Axis::linear("tokens reserved in vain (% of true tokens)", 0.0, drawn(1.0) * 1.1),
            shapes: lines(&models, |model| points(of(model))),
        }
    };
    Figure {
        name: "reservation-frontier",
        title: "Reservation frontier",
        explanation: "A scheduler that reserves a quantile of the forecast trades replies for which too little is reserved against tokens \
                      reserved in vain; each point is a level. Left, reserved once on arrival. Right, anew at every step: then the \
                      horizontal axis is the share of a reply's steps at which too little is reserved. Lower is better."
            .to_owned(),
        legend: legend(&models),
        panels: vec![
            panel("once on arrival", |model| &model.frontier_once),
            panel("updated at every step", |model| &model.frontier_updated),
        ],
    }
}

/// Of the best model, if it has examples.
pub(super) fn fan(evaluation: &EvaluationReport) -> Option<Figure> {
    let (model, color) = drawn(evaluation).into_iter().find(|(model, _)| !model.examples.is_empty())?;
    let panel = |example: &Example| {
        let step = |i: usize| example.steps.iter().map(move |(t, levels)| (f64::from(*t), f64::from(levels[i])));
        let band = |low: usize, high: usize| step(low).zip(step(high)).map(|((t, a), (_, b))| (t, a, b)).collect();
        let length = f64::from(example.output_length);
        let highest = step(4).map(|(_, tokens)| tokens).fold(length, f64::max);
        Panel {
            title: format!("a reply of {} tokens", example.output_length),
            x: Axis::linear("tokens generated", 0.0, length),
            y: Axis::linear("tokens left", 0.0, highest * 1.03),
            shapes: vec![
                Shape::Band(band(0, 4), color, 0.2),
                Shape::Band(band(1, 3), color, 0.3),
                Shape::Line(step(2).collect(), color),
                Shape::Line(vec![(0.0, length), (length, 0.0)], INK),
            ],
        }
    };
    Some(Figure {
        name: "fan",
        title: "Forecast against truth over a reply",
        explanation: format!(
            "Forecasts of {} for replies at the 25th, 50th, 75th and 90th percentile of length among those that ended by themselves. \
             The bands hold what is left with probability 60 % and 90 %. A good forecast narrows around the truth as the reply grows.",
            model.name
        ),
        legend: vec![("truth".to_owned(), INK), ("median, 60 % and 90 % of the forecast".to_owned(), color)],
        panels: model.examples.iter().map(panel).collect(),
    })
}
