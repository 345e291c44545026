"""Reads options of the command line that become fields of a job: `--param`, `--map`, `--sweep`,
`--template`, `--clean` and `--truncate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from common.types import JsonObject

PARAM = "params."  # before a decoding parameter in `--map`
CLEAN = ("encoding", "unicode", "html", "controls", "whitespace")
KEPT = ("start", "end", "both")


def parse_params(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """NAME=VALUE: a value is JSON, or else text."""
    return {name: _value(text) for name, text in map(_pair, pairs)}


def parse_sweep(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """NAME=VALUE,VALUE: each value is JSON, or else text; or all values as one JSON list."""
    found: JsonObject = {}
    for name, text in map(_pair, pairs):
        whole = _value(text)
        found[name] = whole if isinstance(whole, list) else [_value(v) for v in text.split(",")]
    return found


def parse_map(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """FIELD=COLUMN; FIELD is prompt, custom_id, reference or params.NAME."""
    columns: JsonObject = {}
    for field, column in map(_pair, pairs):
        if field.startswith(PARAM):
            columns.setdefault("params", {})[field.removeprefix(PARAM)] = column
        else:
            columns[field] = column
    return columns


def parse_text(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """A text, or @FILE: what is in the file."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"{text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{text[1:]} is not UTF-8") from None


def parse_clean(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> list[str] | None:
    """Steps, separated by commas."""
    steps = [step.strip() for step in text.split(",")] if text else None
    for step in steps or []:
        if step not in CLEAN:
            raise click.BadParameter(f"{step!r} is none of {', '.join(CLEAN)}")
    return steps


def parse_truncate(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> JsonObject | None:
    """TOKENS or `fit`, then which part stays, then which variable is cut: 512:start:text."""
    if text is None:
        return None
    to, _, rest = text.partition(":")
    keep, _, variable = rest.partition(":")
    if not (to == "fit" or to.isdecimal()):
        raise click.BadParameter(f"{to!r} is no number of tokens, and not `fit`")
    if keep and keep not in KEPT:
        raise click.BadParameter(f"{keep!r} is none of {', '.join(KEPT)}")
    found: JsonObject = {"to": to if to == "fit" else int(to)}
    found |= {name: text for name, text in (("keep", keep), ("variable", variable)) if text}
    return found


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # plain text, such as that of `stop`
