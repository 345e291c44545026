"""What a generated text must be (`params.output`): JSON by a schema, JSON, one of several labels, a
text that a regular expression matches, a text of a grammar, or any text.

Knows the shape of a format. Whether a schema, an expression or a grammar can be honoured is told by
`bounds` and `guidance`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict

from common.given import Given, refuse

Kind = Literal["json_schema", "json", "regex", "choice", "grammar", "text"]

MOST_BYTES = 65_536  # of a format as JSON
MOST_DEPTH = 64  # objects and lists inside each other, in a schema
MOST_LABELS = 5_000


def _is_true(value: Any) -> Any:
    if value is not True:
        raise refuse("must be true")
    return value


def _schema(value: Any) -> Any:
    """Depth and size are checked before Pydantic looks inside, which may need much of a stack."""
    if isinstance(value, dict):
        depth, size = _depth_and_size(value)
        if depth > MOST_DEPTH:
            raise refuse(f"is nested too deeply; it may be {MOST_DEPTH} deep")
        _small(size if size > MOST_BYTES else _bytes(value))
    return value


def _depth_and_size(value: Any) -> tuple[int, int]:
    """How deep a value of JSON is, and characters that it has at least; looks no further than is
    needed to know that one of them is too much."""
    deepest = size = 0
    waiting = [(value, 1)]
    while waiting and deepest <= MOST_DEPTH and size <= MOST_BYTES:
        each, depth = waiting.pop()
        size += len(each) if isinstance(each, str) else 1
        if isinstance(each, dict | list):
            deepest = max(deepest, depth)
            size += len(each)
            waiting += ((inner, depth + 1) for inner in _parts(each))
    return deepest, size


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    else:
        yield from value


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _small(size: int) -> None:
    if size > MOST_BYTES:
        raise refuse(f"has more than {MOST_BYTES:,} bytes, the most that an output format may have")


def _text(value: str) -> str:
    _small(len(value) if len(value) > MOST_BYTES else len(value.encode()))
    return value


def _labels(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = [label for label, count in Counter(value).items() if count > 1]
    if twice:
        raise refuse(f"has {twice[0][:64]!r} more than once")
    _small(_bytes(value))
    return value


def _list_as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


IsTrue = Annotated[Literal[True], BeforeValidator(_is_true)]
JsonSchema = Annotated[dict[str, JsonValue], BeforeValidator(_schema)]
Source = Annotated[str, StringConstraints(min_length=1), AfterValidator(_text)]
Label = Annotated[str, StringConstraints(min_length=1)]
Labels = Annotated[
    tuple[Label, ...],
    Field(min_length=1, max_length=MOST_LABELS, fail_fast=True),
    AfterValidator(_labels),
]


def _one_of(*kinds: str) -> JsonDict:
    """A JSON Schema which says that exactly one of these fields is given; null is not given."""
    absent: JsonDict = {"type": "null"}

    def choice(given: str) -> JsonDict:
        properties: JsonDict = {kind: absent for kind in kinds if kind != given}
        return {"required": [given], "properties": {**properties, given: {"not": absent}}}

    return {"oneOf": [choice(kind) for kind in kinds]}


class OutputFormat(Given):
    """What a text must be; exactly one of `json_schema`, `json`, `regex`, `choice`, `grammar` and
    `text` is given. An item's format replaces that of its job as a whole."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=_one_of("json_schema", "json", "regex", "choice", "grammar", "text"),
    )

    json_schema: JsonSchema | None = Field(
        None, description="JSON that is valid by this schema; properties come in its order."
    )
    # Pydantic's models have a method `json`.
    any_json: IsTrue | None = Field(None, alias="json", description="Any JSON object.")
    regex: Source | None = Field(
        None, description="A text that this regular expression matches from beginning to end."
    )
    choice: Labels | None = Field(
        None, description="One of these labels, exactly as it is written here."
    )
    grammar: Source | None = Field(None, description="A text of this Lark grammar.")
    text: IsTrue | None = Field(
        None, description="Any text: how an item leaves the format of its job."
    )
    probabilities: bool = Field(
        False, description="With choice: score every label, and return their probabilities."
    )

    @property
    def kind(self) -> Kind:
        """Which of the formats is given."""
        return next(kind for kind, name in _ATTRIBUTES.items() if getattr(self, name) is not None)

    @model_validator(mode="before")
    @classmethod
    def _one_of_them(cls, data: Any) -> Any:
        """Accept JSON in strict mode, which wants tuples; refuse what is no format at all."""
        if not isinstance(data, dict):
            return data
        given = [kind for kind in _ATTRIBUTES if data.get(kind) is not None]
        if len(given) != 1:
            had = f"; it has {' and '.join(given)}" if given else ""
            raise refuse(f"must have one of {', '.join(_ATTRIBUTES)}{had}")
        if data.get("probabilities") and given != ["choice"]:
            raise refuse(f"has probabilities, which go with choice, not with {given[0]}")
        if "choice" in data:
            data = {**data, "choice": _list_as_tuple(data["choice"])}
        return data

    @model_serializer
    def _as_given(self) -> dict[str, JsonValue]:
        value = getattr(self, _ATTRIBUTES[self.kind])
        found: dict[str, JsonValue] = {
            self.kind: list(value) if isinstance(value, tuple) else value
        }
        return {**found, "probabilities": True} if self.probabilities else found


_ATTRIBUTES: dict[Kind, str] = {
    "json_schema": "json_schema",
    "json": "any_json",
    "regex": "regex",
    "choice": "choice",
    "grammar": "grammar",
    "text": "text",
}
