"""Jinja filters: what a text was to be in words, and JSON as people read it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from web.jobs.output_fields import schema_fields
from web.pages.preparation import as_json

FEW = 5  # labels and fields that are named
LONG = 80  # characters of an expression or a label
READABLE = 50_000  # characters of JSON; longer ones are shown as they were written
DEEPEST = 20  # levels that are indented
PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def format_words(output: Mapping[str, Any]) -> str:
    """An output format in some words; all of it is shown by `format_text`."""
    if "json_schema" in output:
        names = schema_fields(output)
        return f"JSON with {_few(names)}" if names else "JSON by a schema"
    if "choice" in output:
        words = "one of " + _few([f"“{_cut(label)}”" for label in output["choice"]])
        return words + (", with probabilities" if output.get("probabilities") else "")
    if "regex" in output:
        return f"matched by {_cut(output['regex'])}"
    if "grammar" in output:
        return "of a grammar"
    return "a JSON object" if "json" in output else "free text"


def format_text(output: Mapping[str, Any]) -> str:
    """The schema, the labels, the expression or the grammar; empty where the words say all."""
    if "json_schema" in output:
        return as_json(output["json_schema"])
    if "choice" in output:
        return "\n".join(output["choice"])
    return str(output.get("regex") or output.get("grammar") or "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - FEW
    few = ", ".join(_cut(name) for name in names[:FEW])
    return f"{few} and {more:,} more" if more > 0 else few


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def readable_json(text: str) -> str:
    """JSON on lines of its own, each value as it was written. What is no JSON, or too long for
    that, stays as it is."""
    if len(text) > READABLE or not _is_json(text):
        return text
    parts: list[str] = []
    depth, before = 0, ""
    for piece in PIECE.findall(text):
        closes = piece in "}]"
        depth -= closes
        if closes and before in "{[":  # nothing is in it
            parts.append(piece)
        elif closes or (before and before in "{[,"):
            parts.append("\n" + "  " * min(depth, DEEPEST) + piece)
        else:
            parts.append(" " + piece if before == ":" else piece)
        depth += piece in "{["
        before = piece
    return "".join(parts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


FILTERS = {
    "format_words": format_words,
    "format_text": format_text,
    "readable_json": readable_json,
}
