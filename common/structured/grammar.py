"""The grammar of an output format, as llguidance takes it.

Pure: plain strings in, plain strings out. Whether llguidance can use it is told by `guidance`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common.structured.output_format import OutputFormat

# How JSON is written: the least white space that models write, a limit to it, so that no text is
# white space without end, and escapes only where JSON needs them.
JSON_STYLE = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_pattern": r" |\n {0,40}",
    "coerce_one_of": False,
    "lenient": False,
    "json_allow_general_unicode_escapes": False,
}


@dataclass(frozen=True)
class Grammar:
    """What a text must be: `source` for llguidance, `json` if the text is to be JSON."""

    source: str
    json: bool = False

    @cached_property
    def key(self) -> str:
        """The same for equal grammars, and for no others."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def grammar_of(output: OutputFormat) -> Grammar | None:
    """The grammar of a format; None where any text will do."""
    if output.json_schema is not None:
        return json_grammar(output.json_schema)
    if output.any_json:
        return json_grammar({"type": "object"})
    if output.regex is not None:
        return lark_grammar(f"start: /{_in_slashes(output.regex)}/")
    if output.choice is not None:
        labels = "|".join(json.dumps(label, ensure_ascii=False) for label in output.choice)
        return lark_grammar(f"start: LABEL\nLABEL: {labels}")
    return lark_grammar(output.grammar) if output.grammar is not None else None


def json_grammar(schema: dict[str, Any]) -> Grammar:
    """The grammar of JSON that is valid by this schema."""
    styled = {**schema, "x-guidance": JSON_STYLE}
    return Grammar(_source({"json_schema": styled}), json=True)


def lark_grammar(lark: str) -> Grammar:
    return Grammar(_source({"lark_grammar": lark}))


def _source(grammar: dict[str, Any]) -> str:
    return json.dumps({"grammars": [grammar]}, ensure_ascii=False, separators=(",", ":"))


def _in_slashes(regex: str) -> str:
    """A regular expression as Lark has it between slashes."""
    found, escaped = [], False
    for character in regex:
        if character == "/" and not escaped:
            found.append("\\/")
        elif character == "\n":
            found.append("n" if escaped else "\\n")
        else:
            found.append(character)
        escaped = character == "\\" and not escaped
    return "".join(found)
