//! The fields that clients of OpenAI's API, vLLM, TGI, llama.cpp, SGLang and their kin send, and that the called endpoint does not read:
//! which of them change nothing, which are refused, and with what values they ask for nothing.

use eoscast_proto::status::FieldViolation;
use serde_json::Value;
use serde_json::value::RawValue;

/// What becomes of fields that no server is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownFields {
    Refused,
    Ignored,
}

/// Fields that only inform, or that say how to work and not what to answer.
const WITHOUT_EFFECT: &[&str] = &[
    // OpenAI
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    // vLLM and SGLang: placement, labels, chunks of what is streamed
    "custom_labels",
    "data_parallel_rank",
    "disagg_prefill_dp_rank",
    "return_mm_kwargs",
    "routed_dp_rank",
    "session_id",
    "stream_interval",
    "truncation_side",
    // llama.cpp and Ollama: caches and slots
    "cache_prompt",
    "id_slot",
    "keep_alive",
    "n_cache_reuse",
    "slot_id",
    "speculative.n_max",
    "speculative.n_min",
    "speculative.p_min",
];

/// Values that ask for nothing, beside null, as JSON.
type Nothing = &'static [&'static str];

/// What most fields mean by asking for nothing.
const OFF: Nothing = &["false", "\"\"", "[]", "{}"];

const ZERO: Nothing = &["0", "false"];
const ONE: Nothing = &["1"];
const TRUE: Nothing = &["true"];

/// Such a field has no value that could be left out in silence.
const NEVER: Nothing = &[];

const LEAVE_OUT: &str = "leave it out";
const CONSTRAINT: &str = "replies cannot be constrained: leave it out";
const SAMPLER: &str = "use temperature, top_p, top_k or min_p";
const ONE_MODEL: &str = "one model is served, without adapters: leave it out";
const TEXT_ONLY: &str = "the model reads and writes text: leave it out";
const TEMPLATE: &str = "use chat_template_kwargs, for example {\"enable_thinking\": false}";
const IN_BODY: &str = "put its fields into the body itself";
const FOR_CHAT: &str = "it belongs to /v1/chat/completions";
const FOR_COMPLETIONS: &str = "it belongs to /v1/completions";

/// Fields that would change the answer: name, values that ask for nothing, what to do instead.
const UNSUPPORTED: &[(&str, Nothing, &str)] = &[
    // Read by another endpoint.
    ("add_generation_prompt", TRUE, FOR_CHAT),
    ("add_special_tokens", NEVER, LEAVE_OUT),
    ("chat_template_kwargs", OFF, FOR_CHAT),
    ("continue_final_message", OFF, FOR_CHAT),
    ("echo", OFF, FOR_COMPLETIONS),
    ("function_call", &["\"none\"", "\"auto\""], FOR_CHAT),
    ("functions", OFF, FOR_CHAT),
    ("max_completion_tokens", NEVER, "use max_tokens"),
    ("messages", OFF, FOR_CHAT),
    ("prompt", NEVER, FOR_COMPLETIONS),
    ("return_token_strs", OFF, "it belongs to /tokenize"),
    ("tokens", OFF, "it belongs to /detokenize"),
    ("tool_choice", &["\"none\"", "\"auto\""], FOR_CHAT),
    ("tools", OFF, FOR_CHAT),
    ("top_logprobs", ZERO, "use logprobs, a number here"),
    // Constraints on the reply.
    ("allowed_token_ids", OFF, "use logit_bias"),
    ("bad_words", OFF, "use logit_bias"),
    ("ebnf", OFF, CONSTRAINT),
    ("format", OFF, CONSTRAINT),
    ("grammar", OFF, CONSTRAINT),
    ("grammar_lazy", OFF, CONSTRAINT),
    ("grammar_triggers", OFF, CONSTRAINT),
    ("guided_choice", OFF, CONSTRAINT),
    ("guided_decoding_backend", OFF, CONSTRAINT),
    ("guided_grammar", OFF, CONSTRAINT),
    ("guided_json", OFF, CONSTRAINT),
    ("guided_json_object", OFF, CONSTRAINT),
    ("guided_regex", OFF, CONSTRAINT),
    ("guided_whitespace_pattern", OFF, CONSTRAINT),
    ("guideline", OFF, CONSTRAINT),
    ("json_schema", OFF, CONSTRAINT),
    ("logits_processors", OFF, CONSTRAINT),
    ("preserved_tokens", OFF, CONSTRAINT),
    ("regex", OFF, CONSTRAINT),
    ("structural_tag", OFF, CONSTRAINT),
    ("structured_outputs", OFF, CONSTRAINT),
    ("tool_prompt", OFF, CONSTRAINT),
    // Sampling.
    ("custom_logit_processor", OFF, SAMPLER),
    ("custom_params", OFF, LEAVE_OUT),
    ("do_sample", TRUE, "use temperature, 0 for greedy"),
    ("dry_allowed_length", &["2"], "use repetition_penalty"),
    ("dry_base", &["1.75"], "use repetition_penalty"),
    ("dry_multiplier", ZERO, "use repetition_penalty"),
    ("dry_penalty_last_n", &["-1", "0"], "use repetition_penalty"),
    ("dry_sequence_breakers", &["[]", r#"["\n",":","\"","*"]"#], "use repetition_penalty"),
    ("dynatemp_exponent", ONE, SAMPLER),
    ("dynatemp_range", ZERO, SAMPLER),
    ("early_stopping", OFF, LEAVE_OUT),
    ("epsilon_cutoff", ZERO, SAMPLER),
    ("eta_cutoff", ZERO, SAMPLER),
    ("guidance_scale", ONE, LEAVE_OUT),
    ("length_penalty", ONE, "it is for beam search, which there is not: leave it out"),
    ("min_keep", ZERO, SAMPLER),
    ("mirostat", ZERO, SAMPLER),
    ("mirostat_eta", &["0.1"], SAMPLER),
    ("mirostat_tau", &["5"], SAMPLER),
    ("negative_prompt", OFF, LEAVE_OUT),
    ("no_repeat_ngram_size", ZERO, "use repetition_penalty"),
    ("num_beams", ONE, "there is no beam search: leave it out"),
    ("penalize_nl", TRUE, LEAVE_OUT),
    ("random_seed", NEVER, "use seed"),
    ("repeat_last_n", &["-1"], "repetition_penalty looks at the whole prompt and reply"),
    ("repeat_penalty", ONE, "use repetition_penalty"),
    ("repetition_detection", OFF, "use repetition_penalty"),
    ("sampler_seed", NEVER, "use seed"),
    ("samplers", OFF, SAMPLER),
    ("smoothing_curve", ONE, SAMPLER),
    ("smoothing_factor", ZERO, SAMPLER),
    ("temp", NEVER, "use temperature"),
    ("tfs", ONE, SAMPLER),
    ("tfs_z", ONE, SAMPLER),
    ("top_a", ZERO, SAMPLER),
    ("top_n_sigma", &["-1", "0"], SAMPLER),
    ("typical", ONE, SAMPLER),
    ("typical_p", ONE, SAMPLER),
    ("use_beam_search", OFF, "there is no beam search: leave it out"),
    ("watermark", OFF, LEAVE_OUT),
    ("watermarking", OFF, LEAVE_OUT),
    ("xtc_probability", ZERO, SAMPLER),
    ("xtc_threshold", &["0.1"], SAMPLER),
    // Length and stopping.
    ("ignore_eos_token", OFF, "use ignore_eos"),
    ("include_stop_str_in_output", OFF, LEAVE_OUT),
    ("max_length", NEVER, "use max_tokens"),
    ("max_new_tokens", NEVER, "use max_tokens"),
    ("max_output_tokens", NEVER, "use max_tokens"),
    ("max_tokens_to_sample", NEVER, "use max_tokens"),
    ("min_length", ZERO, "use min_tokens"),
    ("min_new_tokens", ZERO, "use min_tokens"),
    ("n_discard", ZERO, LEAVE_OUT),
    ("n_indent", ZERO, LEAVE_OUT),
    ("n_keep", ZERO, LEAVE_OUT),
    ("n_predict", NEVER, "use max_tokens"),
    ("no_stop_trim", OFF, LEAVE_OUT),
    ("num_ctx", NEVER, "the worker's operator sets the context: leave it out"),
    ("num_predict", NEVER, "use max_tokens"),
    ("stop_regex", OFF, "use stop"),
    ("stop_sequences", OFF, "use stop"),
    ("stop_strings", OFF, "use stop"),
    ("stopping_strings", OFF, "use stop"),
    ("t_max_predict_ms", &["0", "-1"], "use max_tokens"),
    ("t_max_prompt_ms", &["0", "-1"], LEAVE_OUT),
    ("thinking_token_budget", &["-1"], LEAVE_OUT),
    ("truncate", NEVER, "send a shorter prompt"),
    ("truncate_prompt_tokens", NEVER, "send a shorter prompt"),
    ("truncation", &["\"disabled\""], "send a shorter prompt"),
    // The prompt, and how it is rendered.
    ("add_special", NEVER, "use add_special_tokens"),
    ("chat_template", OFF, "the model's own template is used: leave it out"),
    ("content", NEVER, "use prompt"),
    ("context", OFF, "send the conversation in messages"),
    ("documents", OFF, "put them into a message"),
    ("enable_thinking", NEVER, TEMPLATE),
    ("input", NEVER, "use prompt or messages"),
    ("input_extra", OFF, LEAVE_OUT),
    ("input_ids", NEVER, "send token ids as prompt"),
    ("input_prefix", OFF, "it is for filling in the middle, which is not supported: leave it out"),
    ("input_suffix", OFF, "it is for filling in the middle, which is not supported: leave it out"),
    ("inputs", NEVER, "use prompt or messages"),
    ("instructions", OFF, "send a message of role system"),
    ("max_dynamic_patch", NEVER, TEXT_ONLY),
    ("min_dynamic_patch", NEVER, TEXT_ONLY),
    ("previous_response_id", OFF, "send the conversation in messages"),
    ("prompt_embeds", OFF, "send text or token ids as prompt"),
    ("prompt_mode", OFF, TEMPLATE),
    ("raw", OFF, "send the prompt to /v1/completions"),
    ("reasoning", OFF, TEMPLATE),
    ("reasoning_effort", NEVER, TEMPLATE),
    ("safe_prompt", OFF, "send a message of role system"),
    ("suffix", OFF, "filling in the middle is not supported: leave it out"),
    ("system", OFF, "send a message of role system"),
    ("template", OFF, "the model's own template is used: leave it out"),
    ("text", NEVER, "use prompt or messages"),
    ("think", NEVER, TEMPLATE),
    ("thinking", NEVER, TEMPLATE),
    ("web_search_options", NEVER, "the worker searches nothing: leave it out"),
    // Beyond text.
    ("audio", OFF, TEXT_ONLY),
    ("image_data", OFF, TEXT_ONLY),
    ("images", OFF, TEXT_ONLY),
    ("media_io_kwargs", OFF, TEXT_ONLY),
    ("mm_processor_kwargs", OFF, TEXT_ONLY),
    ("modalities", &["[]", r#"["text"]"#], TEXT_ONLY),
    ("multimodal_data", OFF, TEXT_ONLY),
    // What the answer holds.
    ("decoder_input_details", OFF, LEAVE_OUT),
    ("details", OFF, "use logprobs"),
    ("detokenize", TRUE, LEAVE_OUT),
    ("include_reasoning", TRUE, TEMPLATE),
    ("logprob_start_len", &["-1"], "use logprobs"),
    ("logprob_token_ids", OFF, "use logprobs"),
    ("n_cmpl", ONE, "use n"),
    ("n_probs", ZERO, "use logprobs"),
    ("parse_tool_calls", OFF, LEAVE_OUT),
    ("post_sampling_probs", OFF, LEAVE_OUT),
    ("prompt_logprobs", &["false"], "use echo and logprobs with /v1/completions"),
    ("reasoning_format", &["\"none\"", "\"auto\""], LEAVE_OUT),
    ("response_fields", OFF, LEAVE_OUT),
    ("return_cached_tokens_details", OFF, "usage.prompt_tokens_details tells them"),
    ("return_full_text", OFF, "use echo with /v1/completions"),
    ("return_hidden_states", OFF, LEAVE_OUT),
    ("return_logprob", OFF, "use logprobs"),
    ("return_progress", OFF, LEAVE_OUT),
    ("return_prompt_text", OFF, LEAVE_OUT),
    ("return_routed_experts", OFF, LEAVE_OUT),
    ("return_text_in_logprobs", OFF, "use logprobs"),
    ("return_token_ids", OFF, "use /tokenize"),
    ("return_token_offsets", OFF, "use logprobs with /v1/completions"),
    ("return_tokens", OFF, "use /tokenize"),
    ("return_tokens_as_token_ids", OFF, "use logprobs: entries of /v1/chat/completions have bytes"),
    ("routed_experts_prompt_start", ZERO, LEAVE_OUT),
    ("separate_reasoning", &["false", "true"], LEAVE_OUT),
    ("skip_special_tokens", TRUE, "special tokens have no text in a reply: leave it out"),
    ("spaces_between_special_tokens", TRUE, LEAVE_OUT),
    ("stream_reasoning", &["false", "true"], LEAVE_OUT),
    ("timings_per_token", OFF, "GET /metrics tells timings"),
    ("token_ids_logprob", OFF, "use logprobs"),
    ("top_logprobs_num", ZERO, "use logprobs"),
    ("top_n_tokens", ZERO, "use logprobs"),
    ("verbosity", &["\"medium\""], LEAVE_OUT),
    ("with_pieces", OFF, "use return_token_strs"),
    // Adapters, other models, other servers.
    ("adapter_id", OFF, ONE_MODEL),
    ("bootstrap_host", OFF, LEAVE_OUT),
    ("bootstrap_port", NEVER, LEAVE_OUT),
    ("bootstrap_room", NEVER, LEAVE_OUT),
    ("cache_salt", OFF, "the prefix cache is one for all clients: leave it out"),
    ("ec_transfer_params", OFF, LEAVE_OUT),
    ("extra_key", OFF, "the prefix cache is one for all clients: leave it out"),
    ("kv_transfer_params", OFF, LEAVE_OUT),
    ("lora", OFF, ONE_MODEL),
    ("lora_path", OFF, ONE_MODEL),
    ("session_params", OFF, LEAVE_OUT),
    ("vllm_xargs", OFF, LEAVE_OUT),
    // Meant for the client's library, or around the body.
    ("extra_body", OFF, IN_BODY),
    ("extra_headers", OFF, "send them as headers"),
    ("extra_query", OFF, LEAVE_OUT),
    ("options", OFF, IN_BODY),
    ("parameters", OFF, IN_BODY),
    ("request_id", OFF, "send the header x-request-id"),
    ("rid", OFF, "send the header x-request-id"),
    ("sampling_params", OFF, IN_BODY),
];

/// Judges field `name`, which an endpoint that reads the fields `read` does not read.
///
/// # Errors
/// The field asks for what is not supported; or nobody knows it, and unknown fields are not ignored.
pub(super) fn check(
    name: &str,
    value: &RawValue,
    read: &[&'static str],
    unknown: UnknownFields,
) -> Result<(), FieldViolation> {
    if value.get() == "null" || WITHOUT_EFFECT.contains(&name) {
        return Ok(());
    }
    match UNSUPPORTED.iter().find(|(known, ..)| *known == name) {
        Some((_, nothing, _)) if asks_for_nothing(value, nothing) => Ok(()),
        Some((_, _, instead)) => Err(FieldViolation::new(name, format!("is not supported: {instead}"))),
        None if unknown == UnknownFields::Ignored => Ok(()),
        None => Err(unknown_field("", name, read)),
    }
}

/// Most bytes of a name that is compared with others, and that an error repeats: a client may send megabytes.
const LONGEST_NAME: usize = 64;

/// The violation of field `name` that nobody knows, within `parent` or the body itself, where one of `read` could be meant.
pub(super) fn unknown_field(parent: &str, name: &str, read: &[&'static str]) -> FieldViolation {
    let similar = read
        .iter()
        .filter(|_| name.len() <= LONGEST_NAME)
        .map(|known| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known), *known))
        .filter(|(distance, known)| distance * 3 <= known.len().min(name.len()))
        .min();
    let advice = match similar {
        Some((_, known)) => format!("did you mean {known}?"),
        None => "leave it out, or start the worker with --ignore-unknown-fields".to_owned(),
    };
    let shown = &name[..name.floor_char_boundary(LONGEST_NAME)];
    FieldViolation::new(format!("{parent}{shown}"), format!("is not a field of this endpoint: {advice}"))
}

fn asks_for_nothing(value: &RawValue, nothing: &[&str]) -> bool {
    // None of the values that ask for nothing is long.
    let value = (value.get().len() <= 256).then(|| serde_json::from_str::<Value>(value.get()).ok()).flatten();
    let same = |other: &str| {
        let other: Option<Value> = serde_json::from_str(other).ok();
        match (&value, other) {
            (Some(Value::Number(ours)), Some(Value::Number(theirs))) => ours.as_f64() == theirs.as_f64(),
            (Some(ours), Some(theirs)) => *ours == theirs,
            _ => false,
        }
    };
    nothing.iter().any(|other| same(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, value: &str, unknown: UnknownFields) -> Result<(), String> {
        let value = RawValue::from_string(value.to_owned()).unwrap();
        check(name, &value, &["temperature", "max_tokens", "n"], unknown).map_err(|violation| violation.to_string())
    }

    #[test]
    fn each_name_stands_once_and_its_values_are_json() {
        let mut names: Vec<_> =
            UNSUPPORTED.iter().map(|(name, ..)| *name).chain(WITHOUT_EFFECT.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (name, nothing, _) in UNSUPPORTED {
            for value in *nothing {
                assert!(serde_json::from_str::<Value>(value).is_ok(), "{name}: {value}");
            }
        }
    }

    #[test]
    fn a_known_field_is_refused_unless_it_asks_for_nothing() {
        use UnknownFields::Refused;
        for (name, value) in [("regex", "null"), ("regex", "\"\""), ("repeat_penalty", "1.0"), ("user", "\"me\"")] {
            assert_eq!(judged(name, value, Refused), Ok(()), "{name}");
        }
        for unknown in [Refused, UnknownFields::Ignored] {
            let refused = judged("repeat_penalty", "1.1", unknown).unwrap_err();
            assert_eq!(refused, "repeat_penalty: is not supported: use repetition_penalty");
            assert!(judged("skip_special_tokens", "false", unknown).is_err());
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_name_that_was_meant_if_one_is_close() {
        for (name, meant) in [("temprature", "temperature"), ("maxTokens", "max_tokens"), ("MAX_TOKENS", "max_tokens")]
        {
            let refused = judged(name, "1", UnknownFields::Refused).unwrap_err();
            assert_eq!(refused, format!("{name}: is not a field of this endpoint: did you mean {meant}?"));
            assert_eq!(judged(name, "1", UnknownFields::Ignored), Ok(()));
        }
        for name in ["frobnicate".to_owned(), "é".repeat(1 << 20)] {
            let refused = judged(&name, "1", UnknownFields::Refused).unwrap_err();
            assert!(refused.ends_with("--ignore-unknown-fields") && refused.len() < 200, "{refused}");
        }
    }
}
