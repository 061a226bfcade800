//! The figures of the report, in its order.

mod models;
mod signal;
mod tasks;

use super::chart::Figure;
use super::trace::Trace;
use super::usefulness::Usefulness;
use crate::evaluation::report::Evaluation;

/// About the EOS signal itself.
pub fn of_signal(traces: &[Trace]) -> Vec<Figure> {
    vec![
        signal::typical_requests(traces),
        signal::final_probability(traces),
        signal::trend(traces),
        signal::mean_against_maximum(traces),
    ]
}

/// About tasks and signals.
pub fn of_tasks(traces: &[Trace], usefulness: &[Usefulness]) -> Vec<Figure> {
    vec![tasks::lengths(traces), tasks::final_probability(traces), tasks::usefulness(usefulness)]
}

/// About models.
pub fn of_models(evaluation: &Evaluation) -> Vec<Figure> {
    let mut figures = vec![
        models::reliability(evaluation),
        models::coverage(evaluation),
        models::lead_time(evaluation),
        models::frontier(evaluation),
    ];
    figures.extend(models::fan(evaluation));
    figures.extend(evaluation.permutation.as_ref().map(tasks::permutation));
    figures
}

/// Values at shares of 0 to 1 of sorted values; `None` without any.
fn quantiles<const N: usize>(values: &mut [f64], shares: [f64; N]) -> Option<[f64; N]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(shares.map(|share| values[(share * last as f64).round() as usize]))
}
