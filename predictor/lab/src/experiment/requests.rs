//! What is asked, and how long each reply is.

use eoscast_log::prompts::Prompt;
use eoscast_proto::worker::v1 as pb;
use eoscast_sim::TraceRequest;
use pb::generate_request::Input;

use super::open_loop::Served;
use super::options::ExperimentOptions;

/// The same words and seed for each prompt in every run, so that its reply is the same.
pub(crate) fn requests(prompts: &[Prompt], options: &ExperimentOptions) -> Vec<pb::GenerateRequest> {
    let request = |(i, prompt): (u64, &Prompt)| {
        let message = pb::ChatMessage { role: "user".into(), content: prompt.prompt.clone() };
        pb::GenerateRequest {
            request_id: prompt.id.clone(),
            input: Some(Input::Chat(pb::ChatInput { messages: vec![message] })),
            sampling_params: Some(pb::SamplingParams {
                temperature: Some(options.temperature),
                seed: Some((options.seed << 32) + i),
                max_tokens: Some(options.max_tokens),
                ..Default::default()
            }),
            task: prompt.task.clone().unwrap_or_default(),
            ..Default::default()
        }
    };
    (0..).zip(prompts).map(request).collect()
}

/// A request whose reply was seen before.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What is sent.
    pub(crate) request: pb::GenerateRequest,
    /// Its lengths; the row is its place among the known.
    pub(crate) lengths: TraceRequest,
}

/// Requests with what came of them when memory was no limit, and the ids of those left out: refused then, or too long for the budget.
pub(crate) fn known(
    requests: Vec<pb::GenerateRequest>,
    served: &[Option<Served>],
    options: &ExperimentOptions,
) -> (Vec<Known>, Vec<String>) {
    let config = options.config();
    let budget = config.num_blocks * config.block_size;
    let (mut known, mut left_out) = (Vec::new(), Vec::new());
    for (request, served) in requests.into_iter().zip(served) {
        match served {
            // The worker refuses what might not fit.
            Some(served) if served.output_tokens > 0 && served.prompt_tokens + options.max_tokens <= budget => {
                let lengths = TraceRequest {
                    row: known.len(),
                    arrival: None,
                    prompt_tokens: served.prompt_tokens,
                    output_tokens: served.output_tokens,
                    max_tokens: options.max_tokens,
                };
                known.push(Known { request, lengths });
            }
            _ => left_out.push(request.request_id),
        }
    }
    (known, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_were_refused_or_do_not_fit_are_left_out() {
        let options = ExperimentOptions::for_test(&["--kv-tokens", "100", "--max-tokens", "60"]).unwrap();
        let prompt = |id: &str| Prompt { id: id.to_owned(), task: None, prompt: "p".to_owned() };
        let requests = requests(&["a", "b", "c", "d"].map(prompt), &options);
        let seeds: Vec<_> = requests.iter().map(|request| request.sampling_params.as_ref().unwrap().seed).collect();
        assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]), "{seeds:?}");
        let served = |prompt_tokens| Some(Served { prompt_tokens, output_tokens: 9, ..Served::default() });
        // 100 tokens are 6 blocks of 16, so 96.
        let (known, left_out) = known(requests, &[served(36), None, served(37), served(1)], &options);
        assert_eq!(left_out, ["b", "c"]);
        assert_eq!(known[1].request.request_id, "d");
        assert_eq!((known[1].lengths.row, known[1].lengths.output_tokens), (1, 9));
    }
}
