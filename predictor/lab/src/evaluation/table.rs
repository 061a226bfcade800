//! The figures that people compare, as tables.

use std::fmt::Write;

use serde::Serialize;

use super::permutation::{Permutation, Scores};
use super::report::{EvaluationReport, ModelReport};
use super::weight::PROGRESS_NAMES;
use eoscast_forecast::age::AGE_NAMES;

/// One table: a row for each model, or whatever the heading says.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// What it is about.
    pub(crate) title: &'static str,
    /// What the columns are.
    pub(crate) explanation: &'static str,
    /// Heading of the rows' names.
    pub(crate) heading: &'static str,
    /// Headings of the others.
    pub(crate) columns: Vec<String>,
    /// The models.
    pub(crate) rows: Vec<Row>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Which.
    pub(crate) name: String,
    /// One for each column.
    pub(crate) cells: Vec<Cell>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    /// As it is shown.
    pub(crate) text: String,
    /// No forecaster that does not know the truth has a better one.
    pub(crate) best: bool,
}

impl Cell {
    /// A figure that is not compared.
    pub(crate) fn plain(value: Option<f64>, digits: usize) -> Self {
        Self { text: number(value, digits), best: false }
    }
}

/// Which of two figures is better.
#[derive(Clone, Copy)]
enum Better {
    Lower,
    Higher,
    NearestTo(f64),
    Neither,
}

impl Better {
    /// Lowest is best.
    fn rank(self, value: f64) -> Option<f64> {
        match self {
            Self::Lower => Some(value),
            Self::Higher => Some(-value),
            Self::NearestTo(goal) => Some((value - goal).abs()),
            Self::Neither => None,
        }
    }
}

type Figure = Box<dyn Fn(&ModelReport) -> Option<f64>>;

/// A column: how it is called, what is better, digits after the point, and where the figure comes from.
struct Column(String, Better, usize, Figure);

fn column(
    name: impl Into<String>,
    better: Better,
    digits: usize,
    figure: impl Fn(&ModelReport) -> Option<f64> + 'static,
) -> Column {
    Column(name.into(), better, digits, Box::new(figure))
}

fn bins(
    names: [&str; 5],
    better: Better,
    digits: usize,
    values: impl Fn(&ModelReport) -> [Option<f64>; 5] + Copy + 'static,
) -> Vec<Column> {
    let of_bin = |(i, name): (usize, &str)| column(name, better, digits, move |model| values(model)[i]);
    names.into_iter().enumerate().map(of_bin).collect()
}

/// All tables.
pub(crate) fn sections(evaluation: &EvaluationReport) -> Vec<Section> {
    let floor = evaluation.noise_floor.as_ref().map(|floor| &floor.report);
    let models: Vec<&ModelReport> = evaluation.models.iter().chain(floor).collect();
    let section = |title, explanation, columns: Vec<Column>| Section {
        title,
        explanation,
        heading: "model",
        rows: rows(&models, &columns),
        columns: columns.into_iter().map(|Column(name, ..)| name).collect(),
    };
    let mut all = vec![
        section(
            "Error of the remaining length",
            "MAE and median: absolute error of the forecast's median, with the ends of its 95 % interval. Bias and R2: of its mean. \
             Pinball: of all its quantiles. Tau: Kendall's rank correlation of the median across requests when each has 0, 25, 50 and \
             75 % of its tokens. us: CPU time of one forecast in microseconds.",
            error_columns(),
        ),
        section(
            "Mean absolute error by progress",
            "By the share of its tokens that a reply has; nobody knows that share before the end.",
            bins(PROGRESS_NAMES, Better::Lower, 1, |model| model.mae_by_bin),
        ),
        section(
            "Coverage of 90 % intervals",
            "By tokens generated so far; 0.9 is right.",
            bins(AGE_NAMES, Better::NearestTo(0.9), 3, |model| model.coverage90_by_age),
        ),
        section(
            "Mean width of 90 % intervals",
            "By tokens generated so far; narrower is better where coverage holds.",
            bins(AGE_NAMES, Better::Neither, 1, |model| model.width90_by_age),
        ),
        section(
            "Ends within 16 tokens",
            "As a classifier, and as an alarm: how many tokens before the end it rises and stays up, on average, when 1, 5 or 10 % of \
             requests have a false alarm.",
            ending_columns(),
        ),
        section(
            "Tokens reserved in vain",
            "In % of true tokens, when 1, 2, 4 or 8 % of requests have too little reserved: once on arrival, and updated at every step.",
            reservation_columns(),
        ),
    ];
    all.extend(evaluation.permutation.as_ref().map(permutation));
    all
}

fn permutation(found: &Permutation) -> Section {
    let row = |name: &str, scores: &Scores, digits: [usize; 3]| Row {
        name: name.to_owned(),
        cells: [(scores.mae, digits[0]), (scores.tau50, digits[1]), (scores.auroc16, digits[2])]
            .map(|(value, digits)| Cell::plain(value, digits))
            .into(),
    };
    let lost = found.groups.iter().map(|group| row(&group.name, &group.lost, [2, 4, 4]));
    Section {
        title: "What the best model loses without a group of features",
        explanation: "Each group is taken from another request with as many tokens, at every step (permutation importance; the model is \
                      not trained again, so what another group could stand in for counts as lost too). MAE that is added, tau at half of \
                      the reply and AUROC of \u{201c}ends within 16\u{201d} that are lost.",
        heading: "group",
        columns: ["MAE", "tau50", "AUROC16"].map(str::to_owned).into(),
        rows: std::iter::once(row("with everything", &found.whole, [1, 3, 3])).chain(lost).collect(),
    }
}

fn error_columns() -> Vec<Column> {
    let mut columns = vec![
        column("MAE", Better::Lower, 1, |model| model.mae),
        column("low", Better::Neither, 1, |model| model.mae_ci.map(|ci| ci[0])),
        column("high", Better::Neither, 1, |model| model.mae_ci.map(|ci| ci[1])),
        column("median", Better::Lower, 1, |model| model.median_error),
        column("bias", Better::NearestTo(0.0), 1, |model| model.bias),
        column("R2", Better::Higher, 3, |model| model.r2),
        column("pinball", Better::Lower, 1, |model| model.pinball),
    ];
    columns.extend(["0", "25", "50", "75"].map(|percent| {
        column(format!("tau{percent}"), Better::Higher, 3, move |model| model.tau.get(percent).copied().flatten())
    }));
    columns.push(column("us", Better::Neither, 2, |model| model.us_per_estimate));
    columns
}

fn ending_columns() -> Vec<Column> {
    let precision = |model: &ModelReport| model.ends_within.get("16").and_then(|scores| scores.average_precision);
    let mut columns = vec![
        column("AUROC", Better::Higher, 3, |model| model.auroc16),
        column("avg. precision", Better::Higher, 3, precision),
        column("Brier", Better::Lower, 4, |model| model.brier16),
    ];
    columns.extend(["1", "5", "10"].map(|rate| {
        let lead = move |model: &ModelReport| model.lead_time.get(rate).copied().flatten().map(|alarm| alarm.mean_lead);
        column(format!("lead at {rate} %"), Better::Higher, 1, lead)
    }));
    columns
}

fn reservation_columns() -> Vec<Column> {
    let percent = |share: Option<&Option<f64>>| share.copied().flatten().map(|share| 100.0 * share);
    let once = ["1", "2", "4", "8"].map(|share| {
        column(format!("once {share} %"), Better::Lower, 0, move |model| percent(model.over_reserved_once.get(share)))
    });
    let updated = ["1", "2", "4", "8"].map(|share| {
        column(format!("updated {share} %"), Better::Lower, 0, move |model| {
            percent(model.over_reserved_updated.get(share))
        })
    });
    once.into_iter().chain(updated).collect()
}

/// Whether `model` competes, or knows what cannot be known.
fn competes(model: &ModelReport) -> bool {
    !model.name.starts_with("oracle") && model.name != "noise-floor"
}

fn rows(models: &[&ModelReport], columns: &[Column]) -> Vec<Row> {
    let best_rank = |Column(_, better, _, figure): &Column| {
        let competing = models.iter().filter(|model| competes(model));
        let ranks = competing.filter_map(|model| better.rank(figure(model)?));
        ranks.min_by(f64::total_cmp)
    };
    let best: Vec<Option<f64>> = columns.iter().map(best_rank).collect();
    let row = |model: &&ModelReport| {
        let cell = |(Column(_, better, digits, figure), best): (&Column, &Option<f64>)| {
            let value = figure(model);
            let rank = value.and_then(|value| better.rank(value));
            Cell { text: number(value, *digits), best: competes(model) && rank.is_some() && rank == *best }
        };
        Row { name: model.name.clone(), cells: columns.iter().zip(&best).map(cell).collect() }
    };
    models.iter().map(row).collect()
}

/// A figure with so many digits after the point, or a dash.
fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        _ => "-".to_owned(),
    }
}

/// All tables as plain text.
pub(crate) fn plain(evaluation: &EvaluationReport) -> String {
    let mut text = format!(
        "{}\n{} requests ({} cut at max_tokens), {} tokens; every request weighs one; lengths in tokens\n",
        evaluation.description, evaluation.requests, evaluation.cut, evaluation.tokens
    );
    for section in sections(evaluation) {
        text.push('\n');
        text.push_str(&aligned(&section));
    }
    if let Some(floor) = &evaluation.noise_floor {
        let _ = writeln!(
            text,
            "\nnoise-floor: knows each prompt's own distribution of lengths; judged on the {} requests of {} prompts with several \
             samples",
            floor.requests, floor.prompts
        );
    }
    text
}

/// The title, then one line a model under one line of headings; numbers to the right.
fn aligned(section: &Section) -> String {
    let first = section.rows.iter().map(|row| row.name.len()).chain([section.heading.len()]).max().unwrap_or(0);
    let width = |(i, heading): (usize, &String)| {
        section.rows.iter().map(|row| row.cells[i].text.len()).chain([heading.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = section.columns.iter().enumerate().map(width).collect();
    let line = |name: &str, cells: &mut dyn Iterator<Item = &String>| {
        let mut line = format!("{name:first$}");
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(line, "  {cell:>width$}");
        }
        line + "\n"
    };
    let mut text = format!("{}\n{}", section.title, line(section.heading, &mut section.columns.iter()));
    for row in &section.rows {
        text.push_str(&line(&row.name, &mut row.cells.iter().map(|cell| &cell.text)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::baselines::Baseline;
    use eoscast_forecast::judging::testing::{knows_the_law, uniform_replies};

    fn evaluation() -> EvaluationReport {
        let replies = uniform_replies(40, 300, 200);
        let models = vec![
            ModelReport::new("law", &knows_the_law(&replies, 300), None),
            ModelReport::new(
                "max-tokens",
                &replies.iter().map(|r| Baseline::MaxTokens.judge(r)).collect::<Vec<_>>(),
                None,
            ),
            ModelReport::new(
                "oracle",
                &replies.iter().map(|r| Baseline::Oracle.judge(r)).collect::<Vec<_>>(),
                Some(2.0),
            ),
        ];
        EvaluationReport::new(&replies, models, "uniform lengths", &replies)
    }

    #[test]
    fn every_model_has_a_line_in_every_table_and_lines_are_aligned() {
        let text = plain(&evaluation());
        assert!(text.starts_with("uniform lengths\n40 requests"), "{text}");
        for section in text.split("\n\n").skip(1) {
            let lines: Vec<_> = section.trim_end().lines().skip(1).collect();
            assert_eq!(lines.len(), 4, "{section}");
            assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{section}");
        }
    }

    #[test]
    fn the_best_is_who_does_not_know_the_truth() {
        let errors = &sections(&evaluation())[0];
        let best: Vec<_> = errors.rows.iter().map(|row| row.cells[0].best).collect();
        assert_eq!(best, [true, false, false]);
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!([number(None, 1), number(Some(f64::NAN), 1), number(Some(1.25), 1)], ["-", "-", "1.2"]);
    }
}
