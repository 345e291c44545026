"""The grammar of an answer that must or may call functions, in the format of the model's family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from common.errors import InvalidRequest
from common.structured.closed_schema import closed
from common.structured.grammar import (
    MOST_KNOWN,
    Grammar,
    grammar_of,
    json_grammar,
    json_rule,
    lark_grammar,
)
from common.structured.output_format import OutputFormat
from common.structured.tool_calls import BEGIN, END
from common.structured.tool_prompt import ToolFormat
from common.structured.tools import Function, ToolSet

# What may be tokens of their own in a model's vocabulary. No text of a grammar allows such a token,
# so that rules have to name it.
TAGS = (BEGIN, END, "[TOOL_CALLS]")
TagIds = tuple[tuple[str, int], ...]  # tags with the ids of their tokens
# Before and behind a call's arguments, between two calls, and around all of them.
CALL = {
    "hermes": ('\n{"name": %s, "arguments": ', "}\n"),
    "llama3": ('{"name": %s, "parameters": ', "}"),
    "mistral": ('{"name": %s, "arguments": ', "}"),
}
BETWEEN = {"hermes": "\n", "mistral": ", "}  # Llama 3 calls one function in an answer
AROUND = {"mistral": ("[", "]")}
# Line ends that models write behind their thoughts.
LEAD = "LEAD: /\\n{1,2}/"


def item_grammar(
    output: OutputFormat | None, tools: ToolSet | None, form: ToolFormat, tags: TagIds = ()
) -> Grammar | None:
    """What an item's text must be; None where any text will do. `form` is how the model that
    answers writes calls; `tags` are those of `TAGS` that are tokens to it. With them the texts are
    the same, in tokens that the model would take.

    Raises:
        InvalidRequest: it may call functions, or must be of a format that does not go with calls.
    """
    bound = output if output is not None and output.kind != "text" else None
    if tools is None:
        return grammar_of(bound) if bound else None
    if bound is None and not tools.binds:
        return None
    return _item_grammar(bound and bound.model_dump_json(), tools.model_dump_json(), form, tags)


@lru_cache(MOST_KNOWN)
def _item_grammar(output: str | None, given: str, form: ToolFormat, tags: TagIds) -> Grammar:
    """The same of what is given as JSON: the items of a job mostly have the same tools."""
    bound = None if output is None else OutputFormat.model_validate_json(output)
    tools = ToolSet.model_validate_json(given)
    if bound is not None and bound.kind not in ("json_schema", "json"):
        message = (
            f"an answer that may call functions can be held to JSON, but not to {bound.kind}; "
            "leave one of them out"
        )
        raise InvalidRequest(message, code="invalid_value", field="params.output")
    rules = _Rules(tools, "hermes" if form == "generic" else form, dict(tags))
    if tools.is_forced:
        return rules.grammar("start: LEAD? calls", LEAD)
    if bound is not None:
        schema = bound.json_schema or {"type": "object"}
        answer = _json("answer", schema, "params.output.json_schema")
        return rules.grammar("start: LEAD? (calls | answer)", LEAD, answer)
    return rules.grammar(*rules.among_text())


class _Rules:
    """The rules of calls in one style: `calls` are some, `inner` is one without its tags."""

    def __init__(self, tools: ToolSet, style: str, tags: Mapping[str, int]):
        self._tools = tools
        self._style = style
        self._tags = tags
        self._several = not tools.is_single and style in BETWEEN

    def grammar(self, *lines: str) -> Grammar:
        """The grammar that these rules and those of calls make."""
        before, behind = AROUND.get(self._style, ("", ""))
        more = f" ({_text(BETWEEN[self._style])} call)*" if self._several else ""
        calls = " ".join(filter(None, (_text(before), f"call{more}", _text(behind))))
        if self._style == "mistral" and "[TOOL_CALLS]" in self._tags:
            calls = f"{self._token('[TOOL_CALLS]')}? {calls}"
        tagged = "inner"
        if self._style == "hermes":
            tagged = f"{self._tag(BEGIN)} inner {self._tag(END)}"
        functions = self._tools.callable
        names = " | ".join(f"call_{self._place(each)}" for each in functions)
        rules = [*lines, f"calls: {calls}", f"call: {tagged}", f"inner: {names}"]
        begin, end = CALL[self._style]
        shortest = []
        for function in functions:
            place, name = self._place(function), begin % json.dumps(function.name)
            rules.append(f"call_{place}: {_text(name)} arguments_{place} {_text(end)}")
            schema, where = self._schema(function), f"tools.functions.{place}.parameters"
            rules.append(_json(f"arguments_{place}", schema, where))
            shortest.append(len(name) + json_grammar(schema, where).least + len(end))
        least = min(shortest) if self._tools.is_forced else 0
        return lark_grammar("\n".join(rules), least=least, field="tools")

    def _tag(self, tag: str) -> str:
        """The tag as text, or as the token that it is."""
        return f"({_text(tag)} | {self._token(tag)})" if tag in self._tags else _text(tag)

    def _token(self, tag: str) -> str:
        return f"<[{self._tags[tag]}]>"

    def _place(self, function: Function) -> int:
        return self._tools.functions.index(function)

    def _schema(self, function: Function) -> dict[str, Any]:
        if function.parameters is None:
            return {"type": "object", "properties": {}, "additionalProperties": False}
        if not self._tools.is_forced and not function.strict:
            return {"type": "object"}
        return {"type": "object", **closed(function.parameters)}

    def among_text(self) -> list[str]:
        """Rules of a text in which calls may stand, so that what begins as one is one."""
        if self._style == "hermes":
            begin, end = _in_regex(BEGIN), self._tag(END)
            opened = f"begin | TEXT {self._token(BEGIN)}" if BEGIN in self._tags else "begin"
            return [
                f"start: (({opened}) inner {end}){'*' if self._several else '?'} TEXT",
                f"begin[lazy]: /(.|\\n)*{begin}/",
                f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{begin}(.|\\n)*/",
            ]
        first = "\\[" if self._style == "mistral" else "{"
        return ["start: (LEAD? calls | TEXT)?", LEAD, f"TEXT: /[^\\s{first}](.|\\n)*/"]


def _json(rule: str, schema: dict[str, Any], where: str) -> str:
    return f"{rule}: {json_rule(schema, where)}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _in_regex(text: str) -> str:
    return text.replace("/", "\\/")
