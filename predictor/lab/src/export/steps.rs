//! The table of steps. Lines of our own log and of other logs have the same columns; a value that a log does not have is null.

use eoscast_log::foreign::{self, AnyStep, Ending, Fault};
use eoscast_log::record::StepLine;
use eoscast_proto::domain::{FinishReason, ModelForecast};

use super::column::{Column, Values, forecast_columns};

/// One row.
#[derive(Debug)]
pub(super) struct StepRow {
    step: AnyStep,
    /// As the log has it, or computed from the log-probability.
    eos_prob: Option<f32>,
    /// These stand in our own lines only.
    sequence_number: Option<u64>,
    estimate: Option<ModelForecast>,
    observed: Option<u32>,
}

impl StepRow {
    /// Of a line of a log, ours or another.
    ///
    /// # Errors
    /// When it is no line of a step.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Fault> {
        match serde_json::from_slice::<StepLine>(line) {
            Ok(mut line) => Ok(Self {
                eos_prob: Some(line.eos_prob),
                sequence_number: Some(line.sequence_number),
                estimate: line.estimate.take(),
                observed: Some(line.observed),
                step: line.into(),
            }),
            Err(_) => {
                let (step, _) = foreign::parse(line)?;
                let eos_prob = step.signals.eos_logprob.map(f32::exp);
                Ok(Self { step, eos_prob, sequence_number: None, estimate: None, observed: None })
            }
        }
    }

    fn finish_reason(&self) -> Option<&'static str> {
        match self.step.ending? {
            Ending::By(reason) => Some(FinishReason::as_str(reason)),
            Ending::Unknown => None,
        }
    }
}

/// The columns, in the order of a line's fields.
pub(super) fn columns() -> Vec<Column<StepRow>> {
    let column = |name, values: Values<StepRow>| Column { name, values };
    let mut columns = vec![
        column("request_id", Values::Text(|row| Some(&row.step.request_id))),
        column("timestamp", Values::Time(|row| row.step.timestamp)),
        column("step", Values::Count(|row| Some(row.step.tokens))),
        column("current_token_id", Values::Count(|row| row.step.token_id)),
        column("eos_token_id", Values::Count(|row| row.step.eos_token_id)),
        column("eos_logprob", Values::Float(|row| row.step.signals.eos_logprob)),
        column("eos_prob", Values::Float(|row| row.eos_prob)),
        column("is_finished", Values::Flag(|row| Some(row.step.ending.is_some()))),
        column("finish_reason", Values::Text(|row| row.finish_reason())),
        column("prompt_length", Values::Count(|row| row.step.prompt_length)),
        column("output_length", Values::Count(|row| Some(row.step.tokens))),
        column(
            "total_length",
            Values::Number(|row| Some(u64::from(row.step.prompt_length?) + u64::from(row.step.tokens))),
        ),
        column("eos_logprob_sampled", Values::Float(|row| row.step.signals.eos_logprob_sampled)),
        column("token_logprob", Values::Float(|row| row.step.signals.token_logprob)),
        column("entropy", Values::Float(|row| row.step.signals.entropy)),
        column("top_logprob", Values::Float(|row| row.step.signals.top_logprob)),
        column("eos_rank", Values::Count(|row| row.step.signals.eos_rank)),
        column("temperature", Values::Float(|row| row.step.temperature)),
        column("worker_id", Values::Text(|row| row.step.worker_id.as_deref())),
        column("model", Values::Text(|row| row.step.model.as_deref())),
        column("sequence_number", Values::Number(|row| row.sequence_number)),
        column("task", Values::Text(|row| row.step.task.as_deref())),
    ];
    columns.extend(forecast_columns!(StepRow, "estimate", estimate));
    columns.extend([
        column("max_tokens", Values::Count(|row| row.step.max_tokens)),
        column("epoch", Values::Number(|row| row.step.epoch)),
        column("ignore_eos", Values::Flag(|row| Some(row.step.ignore_eos))),
        column("observed", Values::Count(|row| row.observed)),
        column("eos_bias", Values::Float(|row| Some(row.step.eos_bias))),
        column("sentence_end_logprob", Values::Float(|row| row.step.signals.sentence_end_logprob)),
        column("newline_logprob", Values::Float(|row| row.step.signals.newline_logprob)),
        column("sketch", Values::Floats(|row| (!row.step.sketch.is_empty()).then_some(&*row.step.sketch))),
    ]);
    columns
}
