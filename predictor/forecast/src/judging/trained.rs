//! Asks a model about finished requests as a predictor would have, step by step.

use std::time::{Duration, Instant};

use super::{FinishedReply, Judged};
use crate::features::{FeatureState, Observed};
use crate::fitting::sample::Sample;
use crate::forecast::forecast;
use crate::models::LengthModel;

/// The reply of `sample`; replies to the prompts of one `group` belong together.
pub fn reply(sample: &Sample, group: String) -> FinishedReply {
    FinishedReply {
        request_id: sample.request_id.to_string(),
        group,
        task: sample.task.clone(),
        temperature: sample.arrival.temperature,
        prompt_length: sample.arrival.prompt_length,
        prompt_features: sample.arrival.prompt.map_or_else(Vec::new, |prompt| prompt.values.to_vec()),
        max_tokens: sample.limit,
        output_length: sample.length,
        ended: sample.ended,
    }
}

/// What `model` says of `sample`, whose reply is `reply`, and the time that its forecasts took, one request at a time: features and
/// calibration included; not the reading of events, done before, nor the judging, done after.
pub fn judge<'a>(model: &dyn LengthModel, sample: &Sample, reply: &'a FinishedReply) -> (Judged<'a>, Duration) {
    let events: Vec<Observed<'_>> = sample.steps().take_while(|event| event.step < sample.length).collect();
    let mut forecasts = Vec::with_capacity(events.len() + 1);
    let begun = Instant::now();
    let mut memory = model.memory();
    let mut state = FeatureState::new(sample.arrival, 0);
    forecasts.push(forecast(model, &state.row(), &mut memory));
    forecasts.extend(events.iter().map(|event| forecast(model, &state.take(event), &mut memory)));
    let took = begun.elapsed();

    let arrival = forecasts[0].remaining;
    let mut answers = Vec::with_capacity(forecasts.len());
    answers.push(arrival);
    let mut at = 0;
    for (event, forecast) in events.iter().zip(&forecasts[1..]) {
        // Through steps that the log lacks, the last answer stands, less what has been generated.
        while at + 1 < event.step {
            at += 1;
            answers.push(answers[at as usize - 1].after(1));
        }
        at = event.step;
        answers.push(forecast.remaining);
    }
    while at + 1 < reply.output_length {
        at += 1;
        answers.push(answers[at as usize - 1].after(1));
    }
    // Once the prompt is read: a forecast of its own, as a worker tells the sketch of the prompt with the first token only.
    if let Some(row) = sample.prefilled() {
        answers[0] = forecast(model, &row, &mut model.memory()).remaining;
    }
    let judged = Judged::new(reply, |t| answers[t as usize]);
    (Judged { arrival: Some(arrival.clip(reply.cap(0))), ..judged }, took)
}
