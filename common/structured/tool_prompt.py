"""How a model is told of functions, of its earlier calls and of their results.

A chat template that has a place for all three is given them as it wants them; which that is, is
found by rendering a small chat. Every other template gets a text of ours, in Hermes' format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import InvalidRequest
from common.structured.tool_calls import Arguments, CallReader
from common.structured.tools import listed

ToolFormat = Literal["hermes", "llama3", "mistral", "generic"]
Messages = list[dict[str, Any]]  # as they are stored; `common/stored_item.py` has the fields
Render = Callable[[Messages, list[dict[str, Any]] | None], str]

# How an earlier call is written in a prompt, by the family of the model.
CALL = r'\s*\{\s*"name":\s*"pm_probe",\s*"%s":\s*\{\s*"pm_key":\s*"pm_value"\s*\}'
FORMATS: tuple[tuple[ToolFormat, re.Pattern[str]], ...] = (
    ("mistral", re.compile(r"\[TOOL_CALLS\]\s*\[" + CALL % "arguments")),
    ("llama3", re.compile(CALL % "parameters" + r"\s*\}")),
)
EMPTY = {"type": "object", "properties": {}}
PROBE = [{"name": "pm_listed", "description": "d", "parameters": EMPTY}]
PROBED = re.compile(r'\{\s*"pm_key":\s*"pm_value"\s*\}')
SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
LONG_ID = "call_0123456789abcdefghijklmn"

INTRODUCTION = """\
You may call functions. Each line is one of them, as JSON:
{functions}
To call a function, write this, once for each call and with nothing around it:
<tool_call>
{{"name": "the function's name", "arguments": {{its arguments as JSON}}}}
</tool_call>
What it returns is in the next message, between <tool_response> and </tool_response>."""


@dataclass(frozen=True, slots=True)
class ToolTraits:
    """How a chat template takes tools. `generic`: it does not, and our text stands in the system
    message, or where there is none (`has_system`) in the user's first."""

    format: ToolFormat
    arguments_as_text: bool = False
    empty_content: str | None = None  # of a message that only calls
    short_ids: bool = False  # ids of calls are nine letters and digits, as Mistral has them
    has_system: bool = True


def traits_of(render: Render) -> ToolTraits:
    """How the template that `render` renders takes tools."""
    for as_text in (False, True):
        for empty in (None, ""):
            traits = ToolTraits("generic", as_text, empty)
            text = _tried(render, _probe("probe0123"), traits)
            found = _format(text)
            if found and "pm_listed" in text and "pm_result" in text:
                short = not _tried(render, _probe(LONG_ID), traits)
                return ToolTraits(found, as_text, empty, short)
    system = [{"role": "system", "content": "pm_system"}, {"role": "user", "content": "q"}]
    return ToolTraits("generic", has_system="pm_system" in _rendered(render, system, None))


def _format(prompt: str) -> ToolFormat | None:
    """How the call of the probe is written in a prompt; None if in no way that is known here."""
    reader = CallReader({"pm_probe"})
    parts = [*reader.feed(f"> {prompt}"), *reader.finish()]  # as text with calls in it
    calls = "".join(part.text for part in parts if isinstance(part, Arguments))
    if PROBED.fullmatch(calls):
        return "hermes"
    return next((name for name, form in FORMATS if form.search(prompt)), None)


def _probe(call_id: str) -> Messages:
    function = {"name": "pm_probe", "arguments": '{"pm_key": "pm_value"}'}
    call = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": "pm_result"},
    ]


def _tried(render: Render, messages: Messages, traits: ToolTraits) -> str:
    return _rendered(render, native_messages(messages, traits), listed(PROBE))


def _rendered(render: Render, messages: Messages, tools: list[dict[str, Any]] | None) -> str:
    try:
        return render(messages, tools)
    except InvalidRequest:
        return ""


def uses_tools(messages: Messages) -> bool:
    """Whether an earlier message calls a function or has a result."""
    return any("tool_calls" in each or each["role"] == "tool" for each in messages)


def native_messages(messages: Messages, traits: ToolTraits) -> Messages:
    """The messages for a template that has a place for calls and results."""
    names = _names(messages)
    return [_native(message, traits, names) for message in messages]


def _native(message: dict[str, Any], traits: ToolTraits, names: dict[str, str]) -> dict[str, Any]:
    if message["role"] == "tool":
        given = message["tool_call_id"]
        found = {**message, "tool_call_id": _short(given) if traits.short_ids else given}
        return found | {"name": names[given]} if given in names else found
    calls = message.get("tool_calls")
    if not calls:
        return message
    content = message.get("content") or traits.empty_content
    return {**message, "content": content, "tool_calls": [_call(each, traits) for each in calls]}


def _call(call: dict[str, Any], traits: ToolTraits) -> dict[str, Any]:
    function = call["function"]
    if not traits.arguments_as_text:
        function = {**function, "arguments": _arguments(function["arguments"])}
    return {
        "id": _short(call["id"]) if traits.short_ids else call["id"],
        "type": "function",
        "function": function,
    }


def _arguments(text: str) -> Any:
    """The arguments of an earlier call as an object; as they are, if they are none: the model may
    have been cut off."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _short(call_id: str) -> str:
    if SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _names(messages: Messages) -> dict[str, str]:
    """The function of each earlier call, by the call's id."""
    return {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or ()
    }


def plain_messages(
    messages: Messages, functions: Sequence[dict[str, Any]], has_system: bool
) -> Messages:
    """The messages for a template without a place for functions: everything is text."""
    found: Messages = []
    results = False  # the last message has results
    for message in messages:
        if message["role"] == "tool":
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            if results:
                found[-1] = {"role": "user", "content": f"{found[-1]['content']}\n{text}"}
            else:
                found.append({"role": "user", "content": text})
        else:
            found.append({"role": message["role"], "content": _with_calls(message)})
        results = message["role"] == "tool"
    return _introduced(found, functions, has_system) if functions else found


def _with_calls(message: dict[str, Any]) -> str:
    parts = [message["content"]] if message.get("content") else []
    for call in message.get("tool_calls") or ():
        function = call["function"]
        name, arguments = json.dumps(function["name"]), function["arguments"]
        parts.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join(parts)


def _introduced(
    messages: Messages, functions: Sequence[dict[str, Any]], has_system: bool
) -> Messages:
    lines = (json.dumps(each["function"], ensure_ascii=False) for each in listed(functions))
    text = INTRODUCTION.format(functions="\n".join(lines))
    first = messages[0]
    if first["role"] == "system" or (not has_system and first["role"] == "user"):
        parts = (first["content"], text) if first["role"] == "system" else (text, first["content"])
        return [{**first, "content": "\n\n".join(filter(None, parts))}, *messages[1:]]
    return [{"role": "system" if has_system else "user", "content": text}, *messages]
