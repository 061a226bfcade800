//! Which endpoint a client means that calls one which does not exist.

/// What can be called by clients that put a path together.
const ENDPOINTS: [&str; 6] =
    ["/v1/chat/completions", "/v1/completions", "/v1/models", "/tokenize", "/detokenize", "/metrics"];

/// How other servers call an endpoint.
const ELSEWHERE: [(&str, &str); 9] = [
    // OpenAI and Anthropic
    ("/v1/responses", "/v1/chat/completions"),
    ("/v1/messages", "/v1/chat/completions"),
    // Text Generation Inference
    ("/generate", "/v1/completions"),
    ("/generate_stream", "/v1/completions"),
    // llama.cpp
    ("/completion", "/v1/completions"),
    // Ollama
    ("/api/chat", "/v1/chat/completions"),
    ("/api/generate", "/v1/completions"),
    ("/api/tags", "/v1/models"),
    ("/api/show", "/v1/models"),
];

/// The endpoint to call instead of `path`.
pub(super) fn meant_by(path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/');
    let path = path.strip_prefix("/v1/v1").map_or(path.into(), |rest| format!("/v1{rest}"));
    let below_v1 = format!("/v1{path}");
    let endpoint = |name: &str| ENDPOINTS.into_iter().find(|endpoint| *endpoint == name);
    let elsewhere = || ELSEWHERE.into_iter().find(|(name, _)| *name == path || *name == below_v1);
    endpoint(&path).or_else(|| endpoint(&below_v1)).or_else(|| elsewhere().map(|(_, endpoint)| endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_nearly_right_leads_to_the_one_that_is() {
        for (path, endpoint) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("/v1/v1/completions", "/v1/completions"),
            ("/models", "/v1/models"),
            ("/responses", "/v1/chat/completions"),
            ("/api/tags", "/v1/models"),
        ] {
            assert_eq!(meant_by(path), Some(endpoint), "{path}");
        }
        assert_eq!(meant_by("/v1/embeddings"), None);
    }
}
