//! The requests of a collection: each prompt so many times, each time with a seed of its own.

use std::collections::HashSet;

use anyhow::Context;
use eoscast_proto::domain::{ChatMessage, Conversation, GenerateSpec, Input, RequestId, SamplingParams};

use crate::engine::{PreparedRequest, RequestPreparer};
use eoscast_log::prompts::Prompt;
use eoscast_proto::hash::fnv1a;

/// How replies are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Replies to each prompt, at least 1.
    pub samples: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// In (0, 1]; 1 is off.
    pub top_p: f32,
    /// Most tokens of a reply, at least 1.
    pub max_tokens: u32,
    /// With the prompt's id and the number of the sample it gives the request's own, so that a reply depends on nothing else.
    pub seed: u64,
}

/// The requests for `prompts` that are not `done`, in order.
///
/// # Errors
/// A parameter is out of range, or a prompt is too long, named by its id.
pub fn requests(
    prompts: &[Prompt],
    sampling: &Sampling,
    done: &HashSet<RequestId>,
    preparer: &RequestPreparer,
) -> anyhow::Result<Vec<PreparedRequest>> {
    let mut requests = Vec::new();
    for prompt in prompts {
        let mut prepared = None;
        for sample in 1..=sampling.samples {
            let request_id = prompt.request_id(sample, sampling.samples)?;
            if done.contains(&request_id) {
                continue;
            }
            let request = match &prepared {
                Some(request) => request,
                None => prepared.insert(prepare(prompt, sampling, preparer).with_context(|| prompt.id.clone())?),
            };
            let seed = fnv1a(&format!("{}#{sample}", prompt.id), sampling.seed);
            requests.push(PreparedRequest { request_id, seed, ..request.clone() });
        }
    }
    Ok(requests)
}

/// The prompt as a single user turn; as plain text if the model has no chat template.
fn prepare(prompt: &Prompt, sampling: &Sampling, preparer: &RequestPreparer) -> anyhow::Result<PreparedRequest> {
    let text = prompt.prompt.clone();
    let input = match preparer.chat_template_source() {
        Some(_) => Input::Chat(Conversation::new(vec![ChatMessage::new("user".to_owned(), text)?])),
        None => Input::Text(text),
    };
    let sampling = SamplingParams {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        max_tokens: Some(sampling.max_tokens),
        ..Default::default()
    };
    sampling.validate()?;
    let spec = GenerateSpec {
        request_id: None,
        input,
        sampling,
        priority: 0,
        task: prompt.task.clone(),
        include_eos_logprob: false,
        include_estimate: false,
    };
    Ok(preparer.prepare(spec, None)?)
}
