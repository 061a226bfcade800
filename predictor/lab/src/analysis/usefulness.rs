//! How well each signal alone predicts the end of a reply: the area under the ROC curve of "ends within 16 tokens", and Kendall's tau
//! and mutual information with the remaining length.

use super::information::mutual_information;
use super::trace::{End, OPTIONAL_SIGNALS, Trace};
use crate::evaluation::ending::{self, Case};
use crate::evaluation::rank::tau_b;
use crate::evaluation::table::{Cell, Row as TableRow, Section};

/// A step is positive if at most this many tokens are left.
pub(crate) const WITHIN: u32 = 16;

/// Most steps of one request that are compared, evenly spaced: values of neighbouring steps are nearly equal.
const STEPS: usize = 24;

/// Steps over which recent values are averaged.
const RECENT: usize = 16;

/// How useful one signal is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Usefulness {
    /// Name of the signal.
    pub(crate) signal: String,
    /// Probability that the signal is higher at a step near the end than at another one. At 0.5 it does not predict the end; below
    /// 0.5 it is lower near the end.
    pub(crate) auroc: Option<f64>,
    /// Kendall's tau-b with the remaining length of replies that ended.
    pub(crate) tau: Option<f64>,
    /// Mutual information with that length, in bits.
    pub(crate) information: Option<f64>,
}

impl Usefulness {
    /// Distance of the AUROC from 0.5, above or below.
    pub(crate) fn strength(&self) -> f64 {
        self.auroc.map_or(0.0, |auroc| (auroc - 0.5).abs())
    }
}

/// The signals at one step.
struct Row {
    reply: usize,
    values: Vec<Option<f64>>,
    /// Tokens to come; if the reply did not end by itself, a lower bound.
    remaining: u32,
    ended: bool,
}

fn names() -> Vec<String> {
    let own = [
        "tokens so far",
        "prompt length",
        "EOS log-prob",
        "EOS log-prob, mean of 16",
        "EOS prob, mean so far",
        "EOS prob, max so far",
        "EOS prob, sum so far",
    ];
    let optional = OPTIONAL_SIGNALS.iter().flat_map(|name| [name.to_string(), format!("{name}, mean of 16")]);
    own.iter().map(ToString::to_string).chain(optional).collect()
}

/// Rates every signal that the traces have; the most useful comes first.
pub(crate) fn usefulness(traces: &[Trace]) -> Vec<Usefulness> {
    let known = traces.iter().filter(|trace| trace.end != End::Unknown);
    let rows: Vec<Row> = known.enumerate().flat_map(|(reply, trace)| rows(reply, trace)).collect();
    let mut found: Vec<_> = names()
        .into_iter()
        .enumerate()
        .map(|(i, signal)| {
            let pairs = pairs(&rows, i);
            let information = mutual_information(&pairs);
            Usefulness { signal, auroc: auroc(&rows, i), information, tau: tau_b(pairs) }
        })
        .filter(|usefulness| usefulness.auroc.is_some() || usefulness.tau.is_some())
        .collect();
    found.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
    found
}

/// The signals of `trace` at up to [`STEPS`] steps. The last step is left out, because nothing is left to predict there.
fn rows(reply: usize, trace: &Trace) -> Vec<Row> {
    let steps = &trace.steps;
    let stride = steps.len().div_ceil(STEPS).max(1);
    // Over the steps so far whose EOS probability is known.
    let (mut sum, mut max, mut known) = (0.0, 0.0f64, 0);
    let mut rows = vec![];
    for (i, step) in steps.iter().enumerate().take(steps.len().saturating_sub(1)) {
        if let Some(eos_prob) = step.eos_prob() {
            sum += eos_prob;
            max = max.max(eos_prob);
            known += 1;
        }
        // Counted from the end, so that the steps right before it are always among them.
        if !(steps.len() - 2 - i).is_multiple_of(stride) {
            continue;
        }
        let recent = &steps[(i + 1).saturating_sub(RECENT)..=i];
        let mean = |value: &dyn Fn(&super::trace::Step) -> Option<f64>| {
            let values: Option<Vec<f64>> = recent.iter().map(value).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let mut values = vec![
            Some(f64::from(step.tokens)),
            trace.prompt_length.map(f64::from),
            step.eos_logprob.map(f64::from),
            mean(&|step| step.eos_logprob.map(f64::from)),
            (known > 0).then(|| sum / f64::from(known)),
            (known > 0).then_some(max),
            (known as usize == i + 1).then_some(sum),
        ];
        for signal in 0..OPTIONAL_SIGNALS.len() {
            values.push(step.optional[signal].map(f64::from));
            values.push(mean(&|step| step.optional[signal].map(f64::from)));
        }
        rows.push(Row { reply, values, remaining: trace.length() - step.tokens, ended: trace.end == End::Stopped });
    }
    rows
}

fn auroc(rows: &[Row], signal: usize) -> Option<f64> {
    let mut cases: Vec<Case> = vec![];
    for of_reply in rows.chunk_by(|a, b| a.reply == b.reply) {
        let first = cases.len();
        cases.extend(of_reply.iter().filter_map(|row| {
            let positive = row.remaining <= WITHIN;
            // Of a reply that was cut, it is not known whether its end was near.
            let labelled = row.ended || row.remaining >= WITHIN;
            let score = row.values[signal].filter(|_| labelled)?;
            Some(Case { score, positive: positive && row.ended, weight: 1.0, reply: row.reply })
        }));
        let weight = 1.0 / (cases.len() - first).max(1) as f64;
        cases[first..].iter_mut().for_each(|case| case.weight = weight);
    }
    ending::sort(&mut cases);
    ending::auroc(&cases, |case| case.weight)
}

/// Pairs of signal and remaining length, of replies that ended by themselves.
fn pairs(rows: &[Row], signal: usize) -> Vec<(f64, f64)> {
    let pair = |row: &Row| Some((row.values[signal]?, f64::from(row.remaining)));
    rows.iter().filter(|row| row.ended).filter_map(pair).collect()
}

/// The table of all signals for the report.
pub(crate) fn table(found: &[Usefulness]) -> Section {
    let row = |one: &Usefulness| {
        let cells = [(one.auroc, 3), (one.tau, 3), (one.information, 3)];
        TableRow { name: one.signal.clone(), cells: cells.map(|(value, digits)| Cell::plain(value, digits)).into() }
    };
    Section {
        title: "Each signal alone",
        explanation: "AUROC: how well the signal separates steps with at most 16 tokens left from the others; 0.5 is no better than \
                      chance. Kendall's tau, and mutual information in bits: how strongly the signal depends on the remaining length of \
                      replies that ended by themselves.",
        heading: "signal",
        columns: ["AUROC", "tau", "bits"].map(str::to_owned).into(),
        rows: found.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::trace;

    fn find<'a>(found: &'a [Usefulness], signal: &str) -> &'a Usefulness {
        found.iter().find(|usefulness| usefulness.signal == signal).unwrap()
    }

    #[test]
    fn a_signal_that_rises_to_the_end_is_useful_and_comes_first() {
        let traces: Vec<_> =
            (40..80).map(|length| trace(length, End::Stopped, |t| -0.1 * (length - t) as f32)).collect();
        let found = usefulness(&traces);
        let eos = find(&found, "EOS log-prob");
        assert!(eos.auroc.is_some_and(|auroc| auroc > 1.0 - 1e-9) && eos.tau == Some(-1.0), "{eos:?}");
        assert!(find(&found, "prompt length").auroc.is_some_and(|auroc| (auroc - 0.5).abs() < 1e-9));
        assert!(found[0].strength() >= found[1].strength());
        assert!(eos.information.is_none(), "too few steps to say");
        let table = table(&found);
        assert_eq!((table.rows.len(), table.rows[0].cells[0].text.as_str()), (found.len(), "1.000"));
    }

    #[test]
    fn signals_that_the_log_does_not_have_are_not_listed() {
        let found = usefulness(&[trace(40, End::Stopped, |_| -3.0), trace(60, End::Cut, |_| -3.0)]);
        assert!(found.iter().all(|usefulness| !usefulness.signal.starts_with("entropy")), "{found:?}");
    }

    #[test]
    fn what_follows_a_cut_is_not_held_against_a_signal() {
        let cut = trace(40, End::Cut, |t| if t > 24 { -0.1 } else { -9.0 });
        let ended = trace(40, End::Stopped, |t| if t >= 24 { -0.1 } else { -9.0 });
        let found = usefulness(&[cut, ended]);
        assert!(find(&found, "EOS log-prob").auroc.is_some_and(|auroc| auroc > 1.0 - 1e-9), "{found:?}");
        assert!(usefulness(&[]).is_empty());
    }
}
