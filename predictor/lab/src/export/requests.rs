//! The tables of finished requests and of arrivals.

use eoscast_log::record::{RequestLine, StartLine};

use super::column::{Column, Values, forecast_columns};

/// The columns of finished requests, in the order of a line's fields.
pub(super) fn of_requests() -> Vec<Column<RequestLine>> {
    let column = |name, values: Values<RequestLine>| Column { name, values };
    let mut columns = vec![
        column("request_id", Values::Text(|line| Some(line.request_id.as_str()))),
        column("worker_id", Values::Text(|line| Some(line.worker_id.as_str()))),
        column("epoch", Values::Number(|line| Some(line.epoch))),
        column("model", Values::Text(|line| Some(&line.model))),
        column("task", Values::Text(|line| line.task.as_deref())),
        column("timestamp", Values::Time(|line| Some(line.timestamp))),
        column("started_at", Values::Time(|line| Some(line.started_at))),
        column("finish_reason", Values::Text(|line| Some(line.finish_reason.as_str()))),
        column("prompt_length", Values::Count(|line| Some(line.prompt_length))),
        column("output_length", Values::Count(|line| Some(line.output_length))),
        column("total_length", Values::Number(|line| Some(line.total_length))),
        column("max_tokens", Values::Count(|line| Some(line.max_tokens))),
        column("temperature", Values::Float(|line| Some(line.temperature))),
        column("ignore_eos", Values::Flag(|line| Some(line.ignore_eos))),
        column("censored", Values::Flag(|line| Some(line.censored))),
    ];
    columns.extend(forecast_columns!(RequestLine, "first_estimate", first_estimate));
    columns.extend([
        column("first_length", Values::Count(|line| Some(line.first_length))),
        column("steps_observed", Values::Count(|line| Some(line.steps_observed))),
        column("final_eos_prob", Values::Float(|line| Some(line.final_eos_prob))),
        column("mean_eos_prob", Values::Float(|line| Some(line.mean_eos_prob))),
        column("max_eos_prob", Values::Float(|line| Some(line.max_eos_prob))),
        column("std_eos_prob", Values::Float(|line| Some(line.std_eos_prob))),
        column("outcome_number", Values::Number(|line| Some(line.outcome_number))),
        column("censored_outcomes", Values::Number(|line| Some(line.censored_outcomes))),
        column("steered_from", Values::Count(|line| line.steered_from)),
        column(
            "prompt_features",
            Values::Floats(|line| line.prompt_features.as_ref().map(|prompt| &prompt.values[..])),
        ),
        column("pits_artifact", Values::Count(|line| line.pits.as_ref().map(|pits| pits.artifact))),
        column("pits_values", Values::SomeFloats(|line| line.pits.as_ref().map(|pits| &pits.values[..]))),
    ]);
    columns
}

/// The columns of arrivals, in the order of a line's fields.
pub(super) fn of_starts() -> Vec<Column<StartLine>> {
    let column = |name, values: Values<StartLine>| Column { name, values };
    let mut columns = vec![
        column("request_id", Values::Text(|line| Some(line.request_id.as_str()))),
        column("timestamp", Values::Time(|line| Some(line.timestamp))),
        column("worker_id", Values::Text(|line| Some(line.worker_id.as_str()))),
        column("epoch", Values::Number(|line| Some(line.epoch))),
        column("sequence_number", Values::Number(|line| Some(line.sequence_number))),
        column("model", Values::Text(|line| Some(&line.model))),
        column("eos_token_ids", Values::Counts(|line| Some(&line.eos_token_ids))),
        column("task", Values::Text(|line| line.task.as_deref())),
        column("prompt_length", Values::Count(|line| Some(line.prompt_length))),
        column("output_length", Values::Count(|line| Some(line.output_length))),
        column("max_tokens", Values::Count(|line| Some(line.max_tokens))),
        column("temperature", Values::Float(|line| Some(line.temperature))),
        column("ignore_eos", Values::Flag(|line| Some(line.ignore_eos))),
    ];
    columns.extend(forecast_columns!(StartLine, "estimate", estimate));
    columns.extend([
        column("target_tokens", Values::Count(|line| line.target_tokens)),
        column(
            "prompt_features",
            Values::Floats(|line| line.prompt_features.as_ref().map(|prompt| &prompt.values[..])),
        ),
    ]);
    columns
}
