//! The report: one HTML page with everything in it.

use anyhow::Context;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::trace::{End, Traces};
use crate::chart::figure::Figure;
use crate::evaluation::report::EvaluationReport;
use crate::evaluation::table::{Section, sections};

const TEMPLATE: &str = include_str!("page.html");

/// A drawn figure.
#[derive(Debug, Serialize)]
pub(crate) struct Drawn {
    /// Name of its files, without extension.
    pub(crate) name: &'static str,
    title: &'static str,
    explanation: String,
    /// The picture.
    pub(crate) svg: String,
}

impl Drawn {
    /// Draws `figure`.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub(crate) fn new(figure: Figure) -> anyhow::Result<Self> {
        let svg = figure.svg().with_context(|| format!("figure {} cannot be drawn", figure.name))?;
        Ok(Self { name: figure.name, title: figure.title, explanation: figure.explanation, svg })
    }
}

/// What the page shows, figure by figure.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// Where the log lies.
    pub(crate) source: String,
    /// What was read.
    pub(crate) traces: &'a Traces,
    /// About the signal.
    pub(crate) signal: &'a [Drawn],
    /// About tasks and signals.
    pub(crate) tasks: &'a [Drawn],
    /// What each signal says alone.
    pub(crate) signals: Section,
    /// About models, with the figures that their tables come from.
    pub(crate) models: Option<(&'a EvaluationReport, &'a [Drawn])>,
}

#[derive(Serialize)]
struct Card {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    source: &'a str,
    model: Option<&'a str>,
    cards: Vec<Card>,
    signal: &'a [Drawn],
    tasks: &'a [Drawn],
    signals: &'a Section,
    models: &'a [Drawn],
    evaluation: Option<EvaluationContext<'a>>,
    data: String,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct EvaluationContext<'a> {
    description: &'a str,
    requests: u64,
    cut: u64,
    tokens: u64,
    tables: Vec<Section>,
}

impl Page<'_> {
    /// The page as HTML.
    ///
    /// # Errors
    /// When it cannot be rendered.
    pub(crate) fn html(&self) -> anyhow::Result<String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        let context = Shown {
            source: &self.source,
            model: self.traces.model.as_deref(),
            cards: cards(self.traces),
            signal: self.signal,
            tasks: self.tasks,
            signals: &self.signals,
            models: self.models.map_or(&[], |(_, drawn)| drawn),
            evaluation: self.models.map(|(evaluation, _)| EvaluationContext {
                description: &evaluation.description,
                requests: evaluation.requests,
                cut: evaluation.cut,
                tokens: evaluation.tokens,
                tables: sections(evaluation),
            }),
            data: summary(self.traces),
            notes: self.traces.notes(),
        };
        environment.render_str(TEMPLATE, Serde(context)).context("the report cannot be written")
    }
}

fn cards(traces: &Traces) -> Vec<Card> {
    let mut lengths: Vec<u32> = traces.traces.iter().map(|trace| trace.length()).collect();
    lengths.sort_unstable();
    let tokens: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let count = |end: End| traces.traces.iter().filter(|trace| trace.end == end).count();
    let unknown = count(End::Unknown);
    let known = lengths.len() - unknown;
    // The share of the requests whose end is known; "-" where none is.
    let share = |end: End| match known {
        0 => "-".to_owned(),
        known => format!("{:.1} %", 100.0 * count(end) as f64 / known as f64),
    };
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let mean = tokens as f64 / lengths.len().max(1) as f64;
    let mut cards = vec![
        Card { name: "requests", value: lengths.len().to_string() },
        Card { name: "tokens", value: tokens.to_string() },
        Card { name: "mean length", value: format!("{mean:.0}") },
        Card { name: "median length", value: median.to_string() },
        Card { name: "ended by themselves", value: share(End::Stopped) },
        Card { name: "cut at their limit", value: share(End::Cut) },
    ];
    if unknown > 0 {
        cards.push(Card { name: "aborted, or end not known", value: unknown.to_string() });
    }
    let steps = traces.intake.unknown_eos;
    if steps > 0 {
        let share = 100.0 * steps as f64 / traces.intake.steps.max(1) as f64;
        cards.push(Card { name: "steps without EOS probability", value: format!("{share:.1} %") });
    }
    cards
}

/// One sentence on what was read and what was not.
pub(crate) fn summary(traces: &Traces) -> String {
    let count = |end: End| traces.traces.iter().filter(|trace| trace.end == end).count();
    let files: Vec<_> =
        traces.files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy()).collect();
    let files = match files.as_slice() {
        [first, .., last] => format!("{} files ({first} to {last})", files.len()),
        one => one.concat(),
    };
    let intake = &traces.intake;
    format!(
        "Read {files}: {} step lines of {} requests. Skipped {} damaged or repeated lines and {} lines of other models. \
         {} steps are missing from these requests. {} requests ended by themselves, {} reached their token limit, and {} were aborted \
         or have no known end.",
        intake.steps,
        traces.traces.len(),
        intake.damages.count + intake.repeats.count,
        intake.other_models,
        intake.missing_steps,
        count(End::Stopped),
        count(End::Cut),
        count(End::Unknown),
    )
}
