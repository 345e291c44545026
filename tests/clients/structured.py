"""Asks a server for formats and tools as users of a library do: `structured.py LIBRARY URL KEY
MODEL` prints, as JSON, what the library made of each answer, or how it failed.

Runs in an environment of its own (`make clients`), so it imports nothing of promptmill.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

ASK = "How do you feel?"


class Person(BaseModel):
    """Somebody."""

    name: Annotated[str, Field(max_length=8)]
    age: Annotated[int, Field(ge=0, le=120)]


class Mood(BaseModel):
    """How somebody feels."""

    mood: Literal["good", "bad"]
    who: Person
    sure: bool


Asked = dict[str, str]  # url, key and model


def instructor_with(mode: str) -> Callable[[Asked], Any]:
    def ask(to: Asked) -> Any:
        import instructor
        import openai

        client = instructor.from_openai(
            openai.OpenAI(base_url=to["url"], api_key=to["key"]), mode=instructor.Mode[mode]
        )
        return client.create(
            model=to["model"],
            response_model=Mood,
            messages=[{"role": "user", "content": ASK}],
            max_retries=0,
        )

    return ask


def _langchain(to: Asked) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=to["model"], base_url=to["url"], api_key=to["key"], max_retries=0)


def langchain_with(**how: Any) -> Callable[[Asked], Any]:
    return lambda to: _langchain(to).with_structured_output(Mood, **how).invoke(ASK)


def langchain_streams_a_tool(to: Asked) -> Any:
    bound = _langchain(to).bind_tools([Mood], tool_choice="any", parallel_tool_calls=False)
    whole: Any = None
    for chunk in bound.stream(ASK):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert call["name"] == "Mood"
    return Mood.model_validate(call["args"])


def langchain_answers_a_tool(to: Asked) -> Any:
    from langchain_core.messages import HumanMessage, ToolMessage

    model = _langchain(to)
    said = model.bind_tools([Mood], tool_choice="Mood").invoke([HumanMessage(ASK)])
    (call,) = said.tool_calls
    chat = [HumanMessage(ASK), said, ToolMessage("Noted.", tool_call_id=call["id"])]
    return model.with_structured_output(Mood).invoke(chat)


def pydantic_ai_with(kind: str) -> Callable[[Asked], Any]:
    def ask(to: Asked) -> Any:
        from pydantic_ai import Agent, NativeOutput, ToolOutput
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=to["url"], api_key=to["key"])
        output: Any = {"tool": ToolOutput, "native": NativeOutput}[kind](Mood)
        settings: Any = {"parallel_tool_calls": False} if kind == "tool" else {}
        agent = Agent(
            OpenAIChatModel(to["model"], provider=provider),
            output_type=output,
            model_settings=settings,
            retries=0,
        )
        return agent.run_sync(ASK).output

    return ask


def pydantic_ai_streams(to: Asked) -> Any:
    from pydantic_ai import Agent, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=to["url"], api_key=to["key"])
    agent = Agent(
        OpenAIChatModel(to["model"], provider=provider),
        output_type=ToolOutput(Mood),
        model_settings={"parallel_tool_calls": False},
    )

    async def run() -> Any:
        async with agent.run_stream(ASK) as result:
            return await result.get_output()

    return asyncio.run(run())


def litellm_with(kind: str, provider: str) -> Callable[[Asked], Any]:
    def ask(to: Asked) -> Any:
        import litellm

        function = {"name": "mood", "parameters": Mood.model_json_schema()}
        how: dict[str, Any] = {
            "format": {"response_format": Mood},
            "tool": {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": "mood"}},
            },
        }
        answer: Any = litellm.completion(
            model=f"{provider}/{to['model']}",
            api_base=to["url"],
            api_key=to["key"],
            messages=[{"role": "user", "content": ASK}],
            **how[kind],
        )
        message = answer.choices[0].message
        text = message.tool_calls[0].function.arguments if kind == "tool" else message.content
        return Mood.model_validate_json(text)

    return ask


WAYS: dict[str, Callable[[Asked], Any]] = {
    "instructor, tools": instructor_with("TOOLS"),
    "instructor, JSON schema": instructor_with("JSON_SCHEMA"),
    "langchain, function calling": langchain_with(method="function_calling"),
    "langchain, function calling, strict": langchain_with(method="function_calling", strict=True),
    "langchain, JSON schema": langchain_with(method="json_schema"),
    "langchain, a streamed tool": langchain_streams_a_tool,
    "langchain, a tool's result": langchain_answers_a_tool,
    "pydantic-ai, a tool": pydantic_ai_with("tool"),
    "pydantic-ai, native": pydantic_ai_with("native"),
    "pydantic-ai, streamed": pydantic_ai_streams,
    "litellm, openai, format": litellm_with("format", "openai"),
    "litellm, openai, tool": litellm_with("tool", "openai"),
    "litellm, hosted_vllm, format": litellm_with("format", "hosted_vllm"),
    "litellm, hosted_vllm, tool": litellm_with("tool", "hosted_vllm"),
}


def main() -> None:
    library, url, key, model = sys.argv[1:]
    found: dict[str, Any] = {}
    for way, ask in WAYS.items():
        if way.startswith(library):
            try:
                found[way] = ask({"url": url, "key": key, "model": model}).model_dump()
            except Exception:
                found[way] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
