"""Fields of objects that were generated as JSON, as columns of a table of results: `?flatten=1`.

Only fields of the outermost object become columns. A value that is an object or a list stays JSON,
exactly as it was generated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

MOST_FIELDS = 200
LONGEST_NAME = 256  # characters of a field's name that becomes a column
SPACE = re.compile(r"[ \t\n\r]*")
WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
EXACT = 2**53  # whole numbers up to this are the same as floats


def _unread(_number: str) -> int:
    """What stands for a number: only its text counts, which may be of any length."""
    return 0


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_int=_unread, parse_float=_unread, parse_constant=_refuse)

MOST_REFERENCES = 8  # followed from a schema to its properties

ColumnType = Literal["bool", "int64", "double", "string"]  # of Arrow


class Written(str):
    """A number, a list or an object as JSON, as it was generated."""


Value = str | Written | bool | None
Fields = dict[str, Value]


def fields_of(text: str) -> Fields:
    """The fields of an object in JSON, in order; none of any other text. Of a name that is there
    twice the last one counts."""
    try:
        return _fields(text)
    except (ValueError, RecursionError):
        return {}


def _fields(text: str) -> Fields:
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        return {}
    found: Fields = {}
    at = _after_space(text, at + 1)
    if text[at : at + 1] == "}":
        return found if _is_end(text, at + 1) else {}
    while True:
        _past(text, at, '"')
        name, at = DECODER.raw_decode(text, at)
        begin = _after_space(text, _past(text, _after_space(text, at), ":"))
        value, at = DECODER.raw_decode(text, begin)
        found[_whole_characters(name)] = _value(value, text[begin:at])
        at = _after_space(text, at)
        if text[at : at + 1] == "}":
            return found if _is_end(text, at + 1) else {}
        at = _after_space(text, _past(text, at, ","))


def _value(value: Any, written: str) -> Value:
    if isinstance(value, str):
        return _whole_characters(value)
    return value if value is None or isinstance(value, bool) else Written(written)


def _past(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark} at {at}")
    return at + 1


def _after_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _is_end(text: str, at: int) -> bool:
    return _after_space(text, at) == len(text)


def _whole_characters(text: str) -> str:
    """The text with a replacement character for each half of a surrogate pair, which JSON can name
    and no file can hold."""
    return (
        text
        if text.isascii()
        else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


class OutputFields:
    """Which fields the outputs of a job have, and what their values are. `first` are those that
    come first, whether an output has them or not."""

    def __init__(self, first: Iterable[str] = ()):
        self._kinds: dict[str, set[str]] = {}  # of the values of a field
        for name in first:
            self._noted(name)

    def look(self, fields: Fields) -> None:
        """Note the fields of an output."""
        for name, value in fields.items():
            kinds = self._noted(name)
            if kinds is not None and value is not None:
                kinds.add(_kind(value))

    def _noted(self, name: str) -> set[str] | None:
        if name not in self._kinds:
            if len(self._kinds) == MOST_FIELDS or len(name) > LONGEST_NAME:
                return None
            self._kinds[name] = set()
        return self._kinds[name]

    def columns(self) -> dict[str, ColumnType]:
        """The columns, each with the type that holds all of its values as they are: text for values
        of several kinds."""
        return {name: _column_type(kinds) for name, kinds in self._kinds.items()}


def _column_type(kinds: set[str]) -> ColumnType:
    if kinds == {"flag"}:
        return "bool"
    if kinds and kinds <= {"whole", "long"}:
        return "int64"
    return "double" if kinds and kinds <= {"whole", "fraction"} else "string"


def field_text(value: Value) -> str | None:
    """A value as text: a text as it is, others as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def typed_cell(value: Value, column: ColumnType) -> str | int | float | None:
    """A value as its column has it."""
    if value is None or (column == "bool" and isinstance(value, bool)):
        return value
    if column == "int64":
        return int(value)
    return float(value) if column == "double" else field_text(value)


def _kind(value: str | bool) -> str:
    if isinstance(value, bool):
        return "flag"
    if not isinstance(value, Written) or value[0] in "[{":
        return "text"
    if WHOLE.fullmatch(value):
        return "whole" if abs(int(value)) <= EXACT else "long"
    is_whole = set(value) <= set("-0123456789")
    return "fraction" if not is_whole and math.isfinite(float(value)) else "text"


def schema_fields(output: Mapping[str, Any]) -> list[str]:
    """The fields that a job's output format names; none if it is no schema of objects."""
    schema = output.get("json_schema")
    for _ in range(MOST_REFERENCES):
        if not isinstance(schema, dict):
            return []
        properties = schema.get("properties")
        if isinstance(properties, dict):
            return list(properties)
        schema = _referred(output["json_schema"], schema.get("$ref"))
    return []


def _referred(schema: Mapping[str, Any], reference: Any) -> Any:
    """What a reference inside the schema names, such as `#/$defs/Person`."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = schema
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found
