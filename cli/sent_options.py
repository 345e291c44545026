"""Reads options of the command line that become fields of a job: `--param`, `--map`, `--sweep`,
`--template`, `--clean`, `--truncate`, `--format`, `--json-schema`, `--choice` and `--regex`; and of
an evaluation: `--metric`, `--min` and `--max`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from common.types import JsonObject

PARAM = "params."  # before a decoding parameter in `--map`
CLEAN = ("encoding", "unicode", "html", "controls", "whitespace")
KEPT = ("start", "end", "both")
FORMAT = ("delimiter", "encoding", "sheet")


def parse_params(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """NAME=VALUE: a value is JSON, or else text."""
    return {name: _value(text) for name, text in _pairs(pairs)}


def parse_sweep(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """NAME=VALUE,VALUE: each value is JSON, or else text; or all values as one JSON list."""
    found: JsonObject = {}
    for name, text in _pairs(pairs):
        whole = _value(text)
        found[name] = whole if isinstance(whole, list) else [_value(v) for v in text.split(",")]
    return found


def parse_map(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """FIELD=COLUMN; FIELD is prompt, custom_id, reference or params.NAME."""
    columns: JsonObject = {}
    for field, column in _pairs(pairs, "FIELD=COLUMN"):
        if field.startswith(PARAM):
            columns.setdefault("params", {})[field.removeprefix(PARAM)] = column
        else:
            columns[field] = column
    return columns


def parse_format(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    """NAME=VALUE; NAME is delimiter, encoding or sheet. `\\t` is a tab."""
    found = dict(_pairs(pairs))
    for name in found:
        if name not in FORMAT:
            raise click.BadParameter(f"{name!r} is none of {', '.join(FORMAT)}")
    return {name: "\t" if text == r"\t" else text for name, text in found.items()}


def once(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> str | None:
    """The one value of an option, which is not empty."""
    if len(texts) > 1:
        raise click.BadParameter("it is given twice; give it once")
    if texts and not texts[0]:
        raise click.BadParameter("it is empty; give a value, or leave it out")
    return texts[0] if texts else None


def parse_text(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> str | None:
    """A text, or @FILE: what is in the file."""
    text = once(context, option, texts)
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise click.BadParameter(f"{text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{text[1:]} is not UTF-8") from None


def parse_clean(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> list[str] | None:
    """Steps, separated by commas."""
    text = once(context, option, texts)
    steps = [step.strip() for step in text.split(",")] if text else None
    for step in steps or []:
        if step not in CLEAN:
            raise click.BadParameter(f"{step!r} is none of {', '.join(CLEAN)}")
    return steps


def parse_truncate(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> JsonObject | None:
    """TOKENS or `fit`, then which part stays, then which variable is cut: 512:start:text."""
    text = once(context, option, texts)
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


def parse_schema(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> JsonObject | None:
    """A JSON Schema, or @FILE."""
    text = parse_text(context, option, texts)
    return None if text is None else {"json_schema": _json(text)}


def parse_choice(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> JsonObject | None:
    """LABEL,LABEL, or all labels as one JSON list."""
    text = once(context, option, texts)
    if text is None:
        return None
    whole = _value(text)
    return {"choice": whole if isinstance(whole, list) else text.split(",")}


def parse_regex(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> JsonObject | None:
    text = once(context, option, texts)
    return None if text is None else {"regex": text}


def parse_metrics(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[str | JsonObject]:
    """Names of metrics, or objects of JSON."""
    return [_value(text) if text.startswith("{") else text for text in texts]


def parse_metric_list(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> list[str | JsonObject] | None:
    """NAME,NAME, or all metrics as one JSON list."""
    text = once(context, option, texts)
    if text is None:
        return None
    whole = _value(text)
    return whole if isinstance(whole, list) else [name.strip() for name in text.split(",")]


def parse_bounds(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, float]:
    """METRIC=VALUE, a number."""
    found = {}
    for name, text in _pairs(pairs, "METRIC=VALUE"):
        try:
            found[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no number") from None
        if not math.isfinite(found[name]):
            raise click.BadParameter(f"{text!r} is no finite number")
    return found


def add_output(options: JsonObject, sweep: JsonObject, formats: list[JsonObject | None]) -> None:
    """Put what the text must be into the parameters, if one of the options says it."""
    given = [each for each in formats if each is not None]
    params = options.get("params") or {}
    if not given:
        return
    if len(given) > 1 or "output" in params or "output" in sweep:
        raise click.UsageError(
            "--json-schema, --choice, --regex and a parameter output each say what the text must "
            "be: give one"
        )
    options["params"] = {**params, "output": given[0]}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is not JSON: {error}") from None


def _pairs(texts: tuple[str, ...], shape: str = "NAME=VALUE") -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not {shape}")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice; give it once")
        found[name] = value
    return list(found.items())


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # plain text, such as that of `stop`
