//! The figures of the report, in its order.

mod models;
mod quantiles;
mod signal;
mod tasks;

use super::trace::Trace;
use super::usefulness::Usefulness;
use crate::chart::figure::Figure;
use crate::evaluation::report::EvaluationReport;

/// About the EOS signal itself.
pub(crate) fn of_signal(traces: &[Trace]) -> Vec<Figure> {
    vec![
        signal::typical_requests(traces),
        signal::final_probability(traces),
        signal::trend(traces),
        signal::mean_against_maximum(traces),
    ]
}

/// About tasks and signals.
pub(crate) fn of_tasks(traces: &[Trace], usefulness: &[Usefulness]) -> Vec<Figure> {
    vec![tasks::lengths(traces), tasks::final_probability(traces), tasks::usefulness(usefulness)]
}

/// About models.
pub(crate) fn of_models(evaluation: &EvaluationReport) -> Vec<Figure> {
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
