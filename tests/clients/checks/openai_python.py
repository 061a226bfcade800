"""The official client of OpenAI's API."""

import asyncio
import re
import time
from importlib.metadata import version as version_of

import openai
from check import PAIR, check, equal, get, raises, version

MESSAGES = [{"role": "user", "content": "Name three colours."}]
SHORT = {"model": "default", "messages": MESSAGES, "max_tokens": 12, "temperature": 0}
TEXT = {"model": "default", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}

version(version_of("openai"))
client = openai.OpenAI(base_url=f"{PAIR.http}/v1", api_key="none", max_retries=0, timeout=60)


def content(reply):
    return reply.choices[0].message.content


@check("models")
def _():
    names = [model.id for model in client.models.list()]
    equal(client.models.retrieve(names[0]).id, names[0])
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


@check("chat")
def _():
    reply = client.chat.completions.create(**SHORT)
    assert content(reply) and reply.id and reply.model and reply.created > 1_700_000_000
    equal(reply.object, "chat.completion")
    equal(reply.choices[0].finish_reason, "length")
    equal(reply.choices[0].message.role, "assistant")


@check("usage")
def _():
    usage = client.chat.completions.create(**SHORT).usage
    equal(usage.completion_tokens, 12)
    equal(usage.total_tokens, usage.prompt_tokens + 12)
    assert usage.prompt_tokens > 10


@check("streaming, with usage")
def _():
    whole = content(client.chat.completions.create(**SHORT))
    chunks = list(client.chat.completions.create(**SHORT, stream=True, stream_options={"include_usage": True}))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), whole)
    equal(chunks[0].choices[0].delta.role, "assistant")
    equal(chunks[-1].usage.completion_tokens, 12)
    equal(len({chunk.id for chunk in chunks}), 1)


@check("stream helper")
def _():
    # The helper takes a reply that was cut for an error, so this one ends by a stop text.
    stop = content(client.chat.completions.create(**SHORT))[-4:]
    with client.chat.completions.stream(**SHORT, stop=stop) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        equal("".join(deltas), content(stream.get_final_completion()))


@check("completions, streaming, several prompts")
def _():
    whole = client.completions.create(**TEXT).choices[0].text
    chunks = client.completions.create(**TEXT, stream=True)
    equal("".join(chunk.choices[0].text for chunk in chunks), whole)
    both = client.completions.create(**TEXT | {"prompt": ["Once upon a time", "Red and"]})
    equal([choice.index for choice in both.choices], [0, 1])
    equal(both.choices[0].text, whole)


@check("prompts of tokens")
def _():
    client.completions.create(**TEXT | {"prompt": [504, 2365]})
    equal(len(client.completions.create(**TEXT | {"prompt": [[504, 2365], [504]]}).choices), 2)


@check("logprobs of chat")
def _():
    choice = client.chat.completions.create(**SHORT, logprobs=True, top_logprobs=3).choices[0]
    tokens = choice.logprobs.content
    equal(len(tokens), 12)
    equal(b"".join(bytes(token.bytes) for token in tokens).decode(), choice.message.content)
    for token in tokens:
        equal(len(token.top_logprobs), 3)
        # Greedy: what was drawn is the most likely.
        assert token.logprob <= 0 and abs(token.logprob - token.top_logprobs[0].logprob) < 1e-4, token


@check("logprobs of completions")
def _():
    choice = client.completions.create(**TEXT, logprobs=2).choices[0]
    found = choice.logprobs
    equal("".join(found.tokens), choice.text)
    equal(found.text_offset[0], 0)
    for token, offset in zip(found.tokens, found.text_offset):
        equal(choice.text[offset : offset + len(token)], token)
    assert all(len(top) >= 2 for top in found.top_logprobs), found.top_logprobs


@check("stop")
def _():
    whole = content(client.chat.completions.create(**SHORT))
    stop = whole[len(whole) // 2 :][:4]
    choice = client.chat.completions.create(**SHORT, stop=[stop]).choices[0]
    equal(choice.message.content, whole[: whole.index(stop)])
    equal(choice.finish_reason, "stop")


@check("n=2, seed")
def _():
    drawn = SHORT | {"temperature": 1, "seed": 7, "n": 2}
    first, second = (client.chat.completions.create(**drawn).choices for _ in range(2))
    equal([choice.index for choice in first], [0, 1])
    assert first[0].message.content != first[1].message.content
    equal([choice.message.content for choice in first], [choice.message.content for choice in second])
    chunks = client.chat.completions.create(**drawn, stream=True)
    texts = ["", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
    equal(texts, [choice.message.content for choice in first])


@check("async")
async def _():
    async with openai.AsyncOpenAI(base_url=f"{PAIR.http}/v1", api_key="none", max_retries=0) as many:
        replies = await asyncio.gather(*(many.chat.completions.create(**SHORT) for _ in range(4)))
        equal(len({reply.id for reply in replies}), 4)
        stream = await many.chat.completions.create(**SHORT, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        equal(text, content(replies[0]))


@check("forms of messages")
def _():
    parts = [{"type": "text", "text": "Name three colours."}]
    equal(content(client.chat.completions.create(**SHORT | {"messages": [{"role": "user", "content": parts}]})),
          content(client.chat.completions.create(**SHORT)))
    history = [{"role": "system", "content": "Be brief."}, *MESSAGES, {"role": "assistant", "content": "Red."}, *MESSAGES]
    client.chat.completions.create(**SHORT | {"messages": history})
    # What a client sends back after a call of a tool.
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = {"role": "tool", "tool_call_id": "a", "content": "blue"}
    client.chat.completions.create(**SHORT | {"messages": [*MESSAGES, asked, told, *MESSAGES]})


@check("role developer")
def _():
    client.chat.completions.create(**SHORT | {"messages": [{"role": "developer", "content": "Be brief."}, *MESSAGES]})


@check("fields that only inform")
def _():
    client.chat.completions.create(**SHORT, user="me", metadata={"a": "b"}, store=False)
    client.chat.completions.create(model="default", messages=MESSAGES, max_completion_tokens=3, tool_choice="none")


@check("request id")
def _():
    raw = client.chat.completions.with_raw_response.create(**SHORT, extra_headers={"x-request-id": "mine"})
    equal(raw.headers["x-request-id"], "mine")
    equal(raw.parse()._request_id, "mine")


@check("typed errors that name the field")
def _():
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**SHORT | {"top_p": 7}))
    equal((error.status_code, error.param, error.type), (400, "top_p", "invalid_request_error"))
    assert "top_p" in error.message and len(error.message) < 300, error.message
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(**SHORT | {"model": "gpt-4o"}))
    assert "gpt-4o" in error.message, error.message
    raises(openai.BadRequestError, lambda: client.chat.completions.create(**SHORT | {"messages": []}))
    raises(openai.BadRequestError, lambda: client.completions.create(**TEXT | {"max_tokens": -1}))
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**SHORT, stream=True, n=0))
    equal(error.param, "n")


@check("what is not supported is refused by name")
def _():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    form = {"type": "json_object"}
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]
    asked = {"tools": {"tools": [tool]}, "response_format": {"response_format": form},
             "messages": {"messages": [{"role": "user", "content": picture}]}}
    for name, fields in asked.items():
        error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**SHORT | fields))
        assert name in error.message, error.message
    error = raises(openai.NotFoundError, lambda: client.embeddings.create(model="default", input="a"))
    assert "/v1/embeddings" in error.message, error.message
    error = raises(openai.NotFoundError, lambda: client.responses.create(model="default", input="a"))
    assert "/v1/responses" in error.message, error.message


@check("a closed stream frees its place")
def _():
    stream = client.chat.completions.create(**SHORT | {"max_tokens": 2000}, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(50):
        page = get(f"{PAIR.http}/metrics", "text/plain")[1]
        # With or without labels.
        if re.search(r"^eoscast_num_requests_running(\{.*\})? 0", page, re.MULTILINE):
            return
        time.sleep(0.1)
    raise AssertionError("it still runs after 5 seconds")


@check("a timeout of the client")
def _():
    hasty = client.with_options(timeout=0.05)
    raises(openai.APITimeoutError, lambda: hasty.chat.completions.create(**SHORT | {"max_tokens": 500}))
    client.chat.completions.create(**SHORT)


@check("x_forecast")
def _():
    chunks = list(client.chat.completions.create(**SHORT, stream=True, extra_body={"x_forecast": True}))
    found = [getattr(choice, "x_forecast", None) or {} for chunk in chunks for choice in chunk.choices]
    assert any("estimate" in forecast for forecast in found), found
