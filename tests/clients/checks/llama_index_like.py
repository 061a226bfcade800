"""LlamaIndex's OpenAILike, as chat and as completions."""

from importlib.metadata import version as version_of

import openai
from check import PAIR, check, equal, raises, version
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

version(f"{version_of('llama-index-llms-openai-like')} (openai {version_of('openai')})")
AT = {"model": "default", "api_base": f"{PAIR.http}/v1", "api_key": "none", "context_window": 8192, "max_tokens": 8,
      "temperature": 0.0, "max_retries": 0}
chat, text = OpenAILike(**AT, is_chat_model=True), OpenAILike(**AT)
MESSAGES = [ChatMessage(role="user", content="Name three colours.")]


@check("chat, stream_chat")
def _():
    whole = chat.chat(MESSAGES)
    equal(whole.raw.usage.completion_tokens, 8)
    equal("".join(part.delta or "" for part in chat.stream_chat(MESSAGES)), whole.message.content)


@check("complete, stream_complete by chat")
def _():
    whole = chat.complete("Name three colours.").text
    equal("".join(part.delta or "" for part in chat.stream_complete("Name three colours.")), whole)


@check("complete, stream_complete by completions")
def _():
    whole = text.complete("Once upon a time").text
    equal("".join(part.delta or "" for part in text.stream_complete("Once upon a time")), whole)


@check("chat by completions")
def _():
    assert text.chat(MESSAGES).message.content


@check("stop")
def _():
    whole = text.complete("Once upon a time").text
    stop = whole[len(whole) // 2 :][:3]
    equal(text.complete("Once upon a time", stop=[stop]).text, whole[: whole.index(stop)])


@check("logprobs")
def _():
    told = OpenAILike(**AT, is_chat_model=True, logprobs=True, top_logprobs=2).chat(MESSAGES)
    equal(len(told.logprobs), 8)


@check("async: achat, astream_chat, acomplete")
async def _():
    whole = (await chat.achat(MESSAGES)).message.content
    equal("".join([part.delta or "" async for part in await chat.astream_chat(MESSAGES)]), whole)
    assert (await text.acomplete("Once upon a time")).text


@check("typed errors")
def _():
    error = raises(openai.BadRequestError, lambda: chat.chat(MESSAGES, top_p=7))
    equal(error.param, "top_p")
