"""langchain-openai: ChatOpenAI and OpenAI."""

from importlib.metadata import version as version_of

import openai
from check import PAIR, check, equal, raises, version
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI

version(version_of("langchain-openai"))
AT = {"model": "default", "base_url": f"{PAIR.http}/v1", "api_key": "none", "max_tokens": 8, "temperature": 0,
      "max_retries": 0}
chat, text = ChatOpenAI(**AT), OpenAI(**AT)
ASKED = "Name three colours."


@check("invoke, usage")
def _():
    reply = chat.invoke(ASKED)
    equal(reply.usage_metadata["output_tokens"], 8)
    equal(reply.response_metadata["finish_reason"], "length")
    chat.invoke([SystemMessage("Be brief."), HumanMessage(ASKED), AIMessage("Red."), HumanMessage("More.")])


@check("stream, usage")
def _():
    chunks = list(ChatOpenAI(**AT, stream_usage=True).stream(ASKED))
    equal("".join(chunk.content for chunk in chunks), chat.invoke(ASKED).content)
    equal(sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata), 8)


@check("batch")
def _():
    equal([reply.content for reply in chat.batch([ASKED, ASKED])], [chat.invoke(ASKED).content] * 2)


@check("bind(stop), bind(logprobs)")
def _():
    whole = chat.invoke(ASKED).content
    stop = whole[len(whole) // 2 :][:3]
    equal(chat.bind(stop=[stop]).invoke(ASKED).content, whole[: whole.index(stop)])
    told = chat.bind(logprobs=True, top_logprobs=2).invoke(ASKED).response_metadata["logprobs"]["content"]
    equal(len(told), 8)


@check("async: ainvoke, astream, abatch")
async def _():
    whole = (await chat.ainvoke(ASKED)).content
    equal("".join([chunk.content async for chunk in chat.astream(ASKED)]), whole)
    equal(len(await chat.abatch([ASKED, ASKED, ASKED])), 3)


@check("n=2, seed")
def _():
    drawn = ChatOpenAI(**AT | {"temperature": 1}, n=2, seed=5)
    equal(len(drawn.generate([[HumanMessage(ASKED)]]).generations[0]), 2)


@check("prompt | model | parser")
def _():
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Name {what}.")])
    chain = prompt | chat | StrOutputParser()
    assert chain.invoke({"what": "a colour"})


@check("completions: invoke, stream, batch")
def _():
    whole = text.invoke("Once upon a time")
    equal("".join(text.stream("Once upon a time")), whole)
    equal(text.batch(["Once upon a time"] * 2), [whole] * 2)


@check("typed errors")
def _():
    error = raises(openai.BadRequestError, lambda: chat.bind(top_p=7).invoke(ASKED))
    equal(error.param, "top_p")
    # Two ways to structured replies, which the worker has not: refused by name.
    schema = {"title": "colour", "type": "object", "properties": {"name": {"type": "string"}}}
    for method, field in (("json_schema", "response_format"), ("function_calling", "tools")):
        structured = chat.with_structured_output(schema, method=method)
        error = raises(openai.BadRequestError, lambda: structured.invoke(ASKED))
        assert field in str(error), error
