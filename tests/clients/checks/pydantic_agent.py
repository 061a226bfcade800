"""Pydantic AI: an agent whose output is text."""

from importlib.metadata import version as version_of

from check import PAIR, check, equal, raises, version
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

version(version_of("pydantic-ai-slim"))
model = OpenAIChatModel("default", provider=OpenAIProvider(base_url=f"{PAIR.http}/v1", api_key="none"))
SETTINGS = {"max_tokens": 8, "temperature": 0.0}
agent = Agent(model, instructions="Be brief.", model_settings=SETTINGS)
ASKED = "Name three colours."


@check("run_sync, usage")
def _():
    result = agent.run_sync(ASKED)
    assert result.output
    equal(result.usage.output_tokens, 8)


@check("a conversation")
def _():
    first = agent.run_sync(ASKED)
    second = agent.run_sync("More.", message_history=first.all_messages())
    assert len(second.all_messages()) > len(first.all_messages())


@check("run_stream")
async def _():
    whole = (await agent.run(ASKED)).output
    async with agent.run_stream(ASKED) as stream:
        equal("".join([part async for part in stream.stream_text(delta=True)]), whole)


@check("system prompt, stop")
async def _():
    plain = Agent(model, system_prompt="Be brief.", model_settings=SETTINGS)
    whole = (await plain.run(ASKED)).output
    stop = whole[len(whole) // 2 :][:3]
    cut = (await plain.run(ASKED, model_settings={"stop_sequences": [stop]})).output
    equal(cut.strip(), whole[: whole.index(stop)].strip())


@check("typed errors")
def _():
    error = raises(ModelHTTPError, lambda: agent.run_sync(ASKED, model_settings={"top_p": 7.0}))
    equal((error.status_code, error.body["param"]), (400, "top_p"))


@check("structured output is refused by name")
def _():
    class Colour(BaseModel):
        name: str

    typed = Agent(model, output_type=Colour, model_settings=SETTINGS)
    error = raises(ModelHTTPError, lambda: typed.run_sync(ASKED))
    assert error.status_code == 400 and "tools" in str(error.body), error.body
