"""The form's fields that say what a text must be (`params.output`) and how long a model may think
(`params.thinking`): read into parameters, and typed back.

What was typed for a kind of output that is not chosen stays in the form and has no effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from web.intake.strict_json import parse
from web.pages.param_fields import escape, read_value, unescape
from web.pages.preparation import as_json

OUTPUT = "params.output."
KIND = f"{OUTPUT}kind"
PROBABILITIES = f"{OUTPUT}probabilities"
THINKING = "params.thinking.max_tokens"
KINDS = ("json_schema", "json", "regex", "choice", "grammar")
# The kinds that need something typed, and what is said where nothing is.
MISSING = {
    "json_schema": "Type a JSON Schema, such as {"
    '"type": "object", "properties": {"city": {"type": "string"}}}.',
    "regex": "Type a regular expression.",
    "choice": "Type the labels, one a line.",
    "grammar": "Type a grammar in Lark's notation.",
}
CHOICES: dict[str, tuple[str, ...]] = {KIND: ("", *KINDS), PROBABILITIES: ("on",)}
INPUTS = {*CHOICES, THINKING, *(f"{OUTPUT}{kind}" for kind in MISSING)}
MOST_TYPED = 2**18  # characters of a schema, with the spaces that make it readable


def read_output(form: Mapping[str, str], wrong: dict[str, str]) -> dict[str, JsonValue]:
    """The parameters; what was not typed is left out. What cannot be read is noted in `wrong`, by
    input."""
    found: dict[str, JsonValue] = {}
    kind = form.get(KIND, "")
    if kind in KINDS:
        try:
            found["output"] = _output(kind, form)
        except ValueError as error:
            wrong[f"{OUTPUT}{kind}"] = str(error)
    if typed := form.get(THINKING, "").strip():
        try:
            found["thinking"] = {"max_tokens": read_value("int", typed)}
        except ValueError as error:
            wrong[THINKING] = str(error)
    return found


def _output(kind: str, form: Mapping[str, str]) -> dict[str, JsonValue]:
    if kind == "json":
        return {"json": True}
    typed = form.get(f"{OUTPUT}{kind}", "").replace("\r\n", "\n")
    if not typed.strip():
        raise ValueError(MISSING[kind])
    if len(typed) > MOST_TYPED:
        raise ValueError(f"has more than {MOST_TYPED:,} characters")
    if kind == "json_schema":
        return {kind: parse(typed)}
    if kind == "choice":
        labels: list[JsonValue] = [unescape(line) for line in typed.split("\n") if line]
        with_probabilities = {"probabilities": True} if form.get(PROBABILITIES) else {}
        return {kind: labels, **with_probabilities}
    # An expression's own line breaks are kept; those around it were typed by habit.
    return {kind: typed.strip("\n") if kind == "regex" else typed}


def typed_output(params: Mapping[str, Any]) -> dict[str, str]:
    """What somebody would type for these: the inverse of `read_output`."""
    output = params.get("output") or {}
    typed = {}
    if kind := next((kind for kind in KINDS if kind in output), None):
        typed[KIND] = kind
        if kind in MISSING:
            typed[f"{OUTPUT}{kind}"] = _typed(kind, output[kind])
    if output.get("probabilities"):
        typed[PROBABILITIES] = "on"
    if thinking := params.get("thinking"):
        typed[THINKING] = str(thinking["max_tokens"])
    return typed


def _typed(kind: str, value: Any) -> str:
    if kind == "json_schema":
        readable = as_json(value)
        return readable if len(readable) <= MOST_TYPED else json.dumps(value, ensure_ascii=False)
    return "\n".join(map(escape, value)) if kind == "choice" else str(value)


def input_of(path: str, kind: str) -> str | None:
    """The input for errors of this path of the API, where the form has this kind of output; None
    for other paths."""
    if path == "params.output" or path.startswith(OUTPUT):
        return f"{OUTPUT}{kind}" if kind in MISSING else KIND
    return THINKING if path.split(".")[:2] == ["params", "thinking"] else None
