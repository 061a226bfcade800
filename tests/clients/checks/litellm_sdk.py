"""LiteLLM's Python SDK, by the three provider names that people use for servers like this one."""

import os
from importlib.metadata import version as version_of

# Without it the package asks GitHub for prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from check import PAIR, check, equal, raises, version

MESSAGES = [{"role": "user", "content": "Name three colours."}]
AT = {"api_base": f"{PAIR.http}/v1", "api_key": "none", "max_tokens": 8, "temperature": 0, "num_retries": 0}

version(version_of("litellm"))
litellm.suppress_debug_info = True


def content(reply):
    return reply.choices[0].message.content


def of_chat(model):
    @check(f"{model}: completion, usage, stream, logprobs, n, stop")
    def _():
        reply = litellm.completion(model=model, messages=MESSAGES, **AT)
        equal(reply.usage.completion_tokens, 8)
        chunks = litellm.completion(model=model, messages=MESSAGES, stream=True,
                                    stream_options={"include_usage": True}, **AT)
        built = litellm.stream_chunk_builder(list(chunks), messages=MESSAGES)
        equal(content(built), content(reply))
        equal(built.usage.completion_tokens, 8)
        asked = litellm.completion(model=model, messages=MESSAGES, logprobs=True, top_logprobs=2, n=2, **AT)
        equal([len(choice.logprobs.content) for choice in asked.choices], [8, 8])
        stop = content(reply)[len(content(reply)) // 2 :][:3]
        cut = litellm.completion(model=model, messages=MESSAGES, stop=[stop], **AT)
        equal(content(cut), content(reply)[: content(reply).index(stop)])

    @check(f"{model}: async")
    async def _():
        reply = await litellm.acompletion(model=model, messages=MESSAGES, **AT)
        stream = await litellm.acompletion(model=model, messages=MESSAGES, stream=True, **AT)
        equal("".join([chunk.choices[0].delta.content or "" async for chunk in stream]), content(reply))

    @check(f"{model}: typed errors")
    def _():
        error = raises(litellm.BadRequestError, lambda: litellm.completion(
            model=model, messages=MESSAGES, top_p=7, **AT))
        assert "top_p" in str(error), error
        other = model.replace("default", "gpt-4o")
        raises(litellm.NotFoundError, lambda: litellm.completion(model=other, messages=MESSAGES, **AT))


of_chat("openai/default")
of_chat("hosted_vllm/default")


@check("text-completion-openai/default: text_completion, stream")
def _():
    model = "text-completion-openai/default"
    reply = litellm.text_completion(model=model, prompt="Once upon a time", **AT)
    equal(reply.usage.completion_tokens, 8)
    chunks = litellm.text_completion(model=model, prompt="Once upon a time", stream=True, **AT)
    equal("".join(chunk.choices[0].text or "" for chunk in chunks), reply.choices[0].text)


@check("hosted_vllm/default: text_completion")
def _():
    reply = litellm.text_completion(model="hosted_vllm/default", prompt="Once upon a time", **AT)
    assert reply.choices[0].text


@check("router")
def _():
    place = {"model_name": "small", "litellm_params": {"model": "hosted_vllm/default", **AT}}
    assert content(litellm.Router(model_list=[place]).completion(model="small", messages=MESSAGES))


@check("model list of the endpoint")
def _():
    known = litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="hosted_vllm",
                                     api_base=AT["api_base"], api_key="none")
    assert known, known
