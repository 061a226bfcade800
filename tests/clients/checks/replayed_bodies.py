"""Request bodies of tools that are too large to install here, field by field as their sources build them."""

import json

from check import PAIR, check, equal, opened, post, version

version("sources of November 2026")
USER = [{"role": "user", "content": [{"type": "text", "text": "Name three colours."}]}]


def stream(path, body):
    """Texts and the usage, read from the events as these tools read them."""
    headers = {"content_type": "application/json", "x_request_id": "bench-0"}
    with opened(PAIR.http + path, json.dumps(body).encode(), **headers) as answer:
        lines = [line.decode().strip() for line in answer if line.strip()]
    equal(lines.pop(), "data: [DONE]")
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    choices = [event["choices"][0] for event in events if event["choices"]]
    texts = [choice["text"] if "text" in choice else choice["delta"].get("content") for choice in choices]
    return "".join(text or "" for text in texts), events[-1]["usage"]


def finishes(path, body, tokens):
    text, usage = stream(path, body)
    assert text
    equal(usage["completion_tokens"], tokens)


WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@check("vllm bench serve: completions, chat")
def _():
    common = {"model": "default", "ignore_eos": True, **WITH_USAGE}
    finishes("/v1/completions", common | {
        "prompt": "Once upon a time", "repetition_penalty": 1.0, "max_tokens": 6, "logprobs": None}, 6)
    finishes("/v1/chat/completions", common | {"messages": USER, "max_completion_tokens": 6}, 6)


@check("guidellm: completions, chat")
def _():
    options = {"include_usage": True, "continuous_usage_stats": True}
    common = {"model": "default", "stream": True, "stream_options": options, "stop": None, "ignore_eos": True}
    finishes("/v1/completions", common | {"prompt": "Once upon a time", "max_tokens": 6}, 6)
    finishes("/v1/chat/completions", common | {"messages": USER, "max_completion_tokens": 6}, 6)


@check("SGLang bench_serving: completions")
def _():
    finishes("/v1/completions", {"model": "default", "prompt": "Once upon a time", "temperature": 0.0, "best_of": 1,
                                 "max_tokens": 6, "ignore_eos": True, **WITH_USAGE}, 6)


@check("lm-evaluation-harness: generation")
def _():
    body = {"model": "default", "prompt": [[504, 2365]], "max_tokens": 6, "temperature": 0, "seed": 1234}
    for stop in (["\n\n", "<|im_end|>"], []):
        assert post("/v1/completions", body | {"stop": stop})["choices"][0]["text"]


@check("lm-evaluation-harness: log-probabilities of a prompt, by echo")
def _():
    tokens = post("/tokenize", {"prompt": "Once upon a time"})["tokens"]
    body = {"model": "default", "prompt": [tokens], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
            "echo": True}
    found = post("/v1/completions", body)["choices"][0]["logprobs"]
    equal(len(found["token_logprobs"]), len(tokens) + 1)
    # The harness sums these, and takes a token for greedy if it is the most likely one.
    later = list(zip(found["token_logprobs"], found["top_logprobs"]))[1:-1]
    equal(len(later), len(tokens) - 1)
    assert all(own <= 0 and own <= max(top.values()) for own, top in later), later


@check("values that change nothing")
def _():
    nothing = {"best_of": 1, "echo": False, "suffix": None, "top_k": -1, "min_p": 0, "prompt_logprobs": None,
               "stop_token_ids": None, "logit_bias": {}, "length_penalty": 1.0, "use_beam_search": False,
               "skip_special_tokens": True, "spaces_between_special_tokens": True, "user": None}
    post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 3, **nothing})
    nothing = {"tools": None, "tool_choice": "none", "functions": None, "response_format": {"type": "text"},
               "parallel_tool_calls": None, "service_tier": "auto", "modalities": ["text"], "logprobs": False,
               "add_generation_prompt": True, "continue_final_message": False, "chat_template": None,
               "chat_template_kwargs": {}, "documents": None, "prompt_cache_key": "a", "safety_identifier": "a"}
    post("/v1/chat/completions", {"messages": USER, "max_tokens": 3, **nothing})
    # An assistant's turn as openai-python dumps it, and parts as clients of several providers mark them.
    turn = {"role": "assistant", "content": "Red.", "refusal": None, "audio": None, "tool_calls": None,
            "function_call": None, "annotations": []}
    part = {"type": "text", "text": "More.", "cache_control": {"type": "ephemeral"}}
    messages = [*USER, turn, {"role": "user", "name": "me", "content": [part]}]
    post("/v1/chat/completions", {"messages": messages, "max_tokens": 3})
