"""What frameworks for agents get from `nemotron serve`: text, calls of functions and what becomes of them.

Usage: python frameworks.py --nemotron PATH --model DIR

Needs the packages of requirements-all.txt. Prints a line for each check; the exit code is 1 if one failed.
"""

import asyncio
import json
import os
import sys

import checks
from clients import ARGUMENTS, QUESTION, Caller, Server, equal

# `agents` is OpenAI's package, and not the script of that name beside this one.
sys.path.pop(0)
# Nobody is told of a test's run.
os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"


def the_text(server):
    """What the model answers to the question."""
    answer = server.client.chat.completions.create(model=server.name, messages=QUESTION, temperature=0, max_tokens=30)
    return answer.choices[0].message.content


def pydantic_model(server):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(server.name, provider=OpenAIProvider(base_url=server.url + "/v1", api_key="none"))


def pydantic_ai_gets_the_text(server):
    from pydantic_ai import Agent

    agent = Agent(pydantic_model(server), model_settings={"temperature": 0, "max_tokens": 30})
    equal(agent.run_sync("Hello").output, the_text(server))

    async def streamed():
        async with agent.run_stream("Hello") as result:
            return "".join([piece async for piece in result.stream_text(delta=True, debounce_by=None)])

    equal(asyncio.run(streamed()), the_text(server))


def pydantic_ai_calls_functions(server):
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import UsageLimitExceeded
    from pydantic_ai.usage import UsageLimits

    with Caller(server) as caller:
        agent, called = Agent(pydantic_model(caller), model_settings={"temperature": 0}), []

        @agent.tool_plain
        def weather(town: str, days: int) -> str:
            called.append({"town": town, "days": days})
            return "Rain."

        # This model calls again whatever it is told; the second turn has the result of the first.
        try:
            agent.run_sync("Hello", usage_limits=UsageLimits(request_limit=2))
            raise AssertionError("the model ends")
        except UsageLimitExceeded:
            equal(called, [ARGUMENTS] * 2)


def agents_models(server):
    """A model of openai-agents for each API."""
    import agents
    import openai

    client = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none")
    yield agents.OpenAIChatCompletionsModel(model=server.name, openai_client=client)
    yield agents.OpenAIResponsesModel(model=server.name, openai_client=client)


def openai_agents_get_the_text(server):
    import agents

    async def ask():
        # A client belongs to one event loop.
        for model in agents_models(server):
            settings = agents.ModelSettings(temperature=0, max_tokens=30)
            agent = agents.Agent(name="Ada", model=model, model_settings=settings)
            equal((await agents.Runner.run(agent, "Hello")).final_output, want)
            result = agents.Runner.run_streamed(agent, "Hello")
            events = [event async for event in result.stream_events() if event.type == "raw_response_event"]
            deltas = [event.data.delta for event in events if event.data.type == "response.output_text.delta"]
            equal(("".join(deltas), result.final_output), (want, want))

    want = the_text(server)
    asyncio.run(ask())


def openai_agents_call_functions(server):
    import agents

    called = []

    @agents.function_tool
    def weather(town: str, days: int) -> str:
        """The weather."""
        called.append({"town": town, "days": days})
        return "Rain."

    async def ask(caller):
        for model in agents_models(caller):
            agent = agents.Agent(name="Ada", model=model, model_settings=agents.ModelSettings(temperature=0), tools=[weather])
            # The first call's result goes back to the model, which calls again.
            try:
                await agents.Runner.run(agent, "Hello", max_turns=2)
                raise AssertionError("the model ends")
            except agents.exceptions.MaxTurnsExceeded:
                pass

    with Caller(server) as caller:
        asyncio.run(ask(caller))
    equal(called, [ARGUMENTS] * 4)


def litellm_speaks_anthropics_api(server):
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    with Caller(server) as caller:
        tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {
            "town": {"type": "string"}, "days": {"type": "integer"}}}}}
        asked = {"model": f"anthropic/{caller.name}", "api_base": caller.url, "api_key": "none", "messages": QUESTION,
                 "tools": [tool], "max_tokens": 100, "thinking": {"type": "enabled", "budget_tokens": 1024},
                 "allowed_openai_params": ["thinking"]}
        message = litellm.completion(**asked).choices[0].message
        equal([(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls], [("weather", ARGUMENTS)])
        equal(message.reasoning_content, "I ask.")


CHECKS = [
    pydantic_ai_gets_the_text,
    pydantic_ai_calls_functions,
    openai_agents_get_the_text,
    openai_agents_call_functions,
    litellm_speaks_anthropics_api,
]


def main():
    arguments = checks.parser(__doc__).parse_args()
    server = Server(arguments.nemotron, arguments.model)
    code = checks.run(CHECKS, server)
    server.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
