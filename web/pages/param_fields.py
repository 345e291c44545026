"""The form's fields for decoding parameters, made from the fields of `SamplingParams`.

Knows nothing of requests: it describes each field, turns what was typed into a value, and a value
into what would be typed. Whether a value is allowed is checked when the job is submitted.
"""

from __future__ import annotations

import json
import re
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import JsonValue
from pydantic.fields import FieldInfo

from common.params import CELLS, SamplingParams
from web.intake.strict_json import parse

# Shown at once; the others are in a closed section of the form.
COMMON = ("max_tokens", "temperature", "top_p", "n", "seed")
MOST_TYPED = 2**16  # characters of one field: more than any parameter may have
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}

Kind = Literal["int", "float", "bool", "lines", "json"]


@dataclass(frozen=True)
class ParamField:
    """One decoding parameter as the form shows it. `bounds` is for people, like `0 to 1`."""

    name: str
    kind: Kind
    help: str
    default: str
    bounds: str

    @property
    def input(self) -> str:
        """The name of its input: the path that errors of the API name."""
        return f"params.{self.name}"

    @property
    def common(self) -> bool:
        return self.name in COMMON


def param_fields() -> list[ParamField]:
    """One field for each of `SamplingParams` that is no object, the common ones first."""
    found = [_field(name, SamplingParams.model_fields[name]) for name in CELLS]
    order = {name: place for place, name in enumerate(COMMON)}
    return sorted(found, key=lambda field: order.get(field.name, len(order)))


def _field(name: str, info: FieldInfo) -> ParamField:
    default = info.get_default(call_default_factory=True)
    shown = f"{default:g}" if isinstance(default, int | float) else ""
    return ParamField(name, _kind(info.annotation), info.description or "", shown, _bounds(info))


def _kind(annotation: Any) -> Kind:
    """How a value of this type is typed. Types without an input of their own are typed as JSON."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    plain: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
    if annotation in plain:
        return plain[annotation]
    if get_origin(annotation) is tuple and _is_text(get_args(annotation)[0]):
        return "lines"
    return "json"


def _is_text(annotation: Any) -> bool:
    return annotation is str or get_args(annotation)[:1] == (str,)  # str, or Annotated[str, …]


def _bounds(info: FieldInfo) -> str:
    low = high = ""
    for bound in info.metadata:
        if isinstance(bound, Ge):
            low = _number(bound.ge)
        elif isinstance(bound, Gt):
            low = f"above {_number(bound.gt)},"
        elif isinstance(bound, Le):
            high = _number(bound.le)
        elif isinstance(bound, Lt):
            high = f"below {_number(bound.lt)}"
        elif isinstance(bound, MaxLen):
            return f"at most {bound.max_length}"
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else high


def _number(value: Any) -> str:
    if abs(value) < 10**9:
        return f"{value:,}".replace("-", "−")
    return "2⁶³ − 1" if value == 2**63 - 1 else f"{value:.0e}"


def read_value(kind: Kind, typed: str) -> JsonValue:
    """What was typed, as the value that JSON would have; `ValueError` says what was expected."""
    if len(typed) > MOST_TYPED:
        raise ValueError(f"has more than {MOST_TYPED:,} characters")
    if kind == "bool":
        return True  # browsers do not send a box that is not ticked
    if kind == "lines":
        return [unescape(line) for line in typed.splitlines() if line]
    if kind == "int":
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", typed):
            raise ValueError(f"“{_cut(typed)}” is not a whole number")
        return int(typed)
    if kind == "float":
        if not re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", typed):
            raise ValueError(f"“{_cut(typed)}” is not a number; write it like 0.7")
        return float(typed)
    value: JsonValue = parse(typed)
    return value


def typed_value(kind: Kind, value: Any) -> str:
    """What somebody would type for this value: the inverse of `read_value`."""
    if kind == "bool":
        return "on" if value else ""
    if kind == "lines":
        return "\n".join(escape(line) for line in value)
    return json.dumps(value)


def unescape(line: str) -> str:
    r"""Replaces `\n`, `\t` and `\\` by what they stand for: in a list of lines, a line break cannot
    be typed as itself."""
    return re.sub(r"\\[nt\\]", lambda match: ESCAPES[match[0]], line)


def escape(text: str) -> str:
    """The inverse of `unescape`."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t")


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else text[:40] + "…"
