//! Fuzz targets of request bodies: a second of inputs each as tests, hours by a fuzzer (see the README).

use std::panic::AssertUnwindSafe;

use eoscast_worker::runner::scripted::peaked_logits;
use tokio::runtime::{Builder, Runtime};

use super::support::{ROOMY, Setup};
use super::{Server, post, tokenizer, tokenizer_size};

const PATHS: [&str; 4] = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"];

/// The routes over a model that ends every reply at once, short of room and of places, so that no body makes long work.
struct Target {
    runtime: Runtime,
    server: Server,
}

impl Target {
    /// An input that fails ends the test, so nothing is looked at in a state that a panic left.
    fn new() -> AssertUnwindSafe<Self> {
        let eos = tokenizer().eos_token_ids()[0];
        let script = move |_: &[u32]| peaked_logits(tokenizer_size(), eos);
        let server = Server::start(&Setup { num_blocks: 32, max_waiting: 8, ..ROOMY }, script);
        AssertUnwindSafe(Self { runtime: Builder::new_current_thread().enable_all().build().unwrap(), server })
    }

    /// Whatever is wrong with a body is the client's mistake, and said in OpenAI's form.
    fn answers(&self, body: &[u8]) {
        for path in PATHS {
            let answer = self.runtime.block_on(self.server.send(post(path, body.to_vec())));
            let shown = String::from_utf8_lossy(body);
            assert!(!answer.status.is_server_error(), "{path} {shown}: {}", answer.body);
            if !answer.status.is_success() {
                assert!(answer.error()["message"].as_str().is_some_and(|text| !text.is_empty()), "{path} {shown}");
            }
        }
    }
}

#[test]
fn any_bytes_as_a_body() {
    let target = Target::new();
    bolero::check!().for_each(|body: &[u8]| target.answers(body));
}

const FIELDS: [&str; 46] = [
    "prompt",
    "messages",
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "seed",
    "logprobs",
    "top_logprobs",
    "length_control",
    "n",
    "best_of",
    "priority",
    "task",
    "x_forecast",
    "stream",
    "stream_options",
    "response_format",
    "tools",
    "logit_bias",
    "echo",
    "tokens",
    "add_special_tokens",
    "add_generation_prompt",
    "return_token_strs",
    "continue_final_message",
    "chat_template_kwargs",
    "tool_choice",
    "functions",
    "function_call",
    "regex",
    "skip_special_tokens",
    "user",
    "suffix",
    "modalities",
    "",
];

/// Values of every type, at and beyond the edges of what some field takes.
const VALUES: [&str; 46] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "20",
    "21",
    "257",
    "4294967295",
    "4294967296",
    "-9223372036854775808",
    "18446744073709551616",
    "0.5",
    "1e-46",
    "1e39",
    "1e400",
    "-0.0",
    "\"\"",
    "\"a\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"<|im_end|>\"",
    "\"default\"",
    "[]",
    "[\"a\",\"\"]",
    "[1,2]",
    "[[1],[2]]",
    "[[],[]]",
    "[null]",
    "{}",
    "[{\"role\":\"user\",\"content\":\"hi\"}]",
    "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]",
    "[{\"role\":\"developer\",\"content\":null}]",
    "{\"target_tokens\":4}",
    "{\"target_tokens\":0,\"strength\":-1}",
    "{\"include_usage\":true}",
    "{\"include_usage\":true,\"continuous_usage_stats\":true,\"x\":null}",
    "{\"5\":-100,\"6\":null}",
    "{\"x\":1e2}",
    "\"none\"",
    "1e2",
    "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]},{\"role\":\"tool\"}]",
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
];

#[test]
fn any_fields_of_a_body() {
    let target = Target::new();
    bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|picks| {
        let named = |(field, value): &(u8, u8)| {
            let (field, value) = (usize::from(*field) % FIELDS.len(), usize::from(*value) % VALUES.len());
            format!("\"{}\":{}", FIELDS[field], VALUES[value])
        };
        // A request that works, unless a pick overrides it.
        let working = [r#""prompt":"hi""#, r#""messages":[{"role":"user","content":"hi"}]"#, r#""tokens":[5]"#];
        let fields: Vec<String> = working.map(str::to_owned).into_iter().chain(picks.iter().map(named)).collect();
        target.answers(format!("{{{}}}", fields.join(",")).as_bytes());
    });
}
