"""The grammar of an output format, as llguidance takes it: the one way from a format to a grammar,
with all bounds on the way.

Pure: plain values in, plain strings out. Whether llguidance can build it is told by `guidance`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from common.structured.lark import read_lark
from common.structured.lark_tokens import BadGrammar, lark_string
from common.structured.output_format import OutputFormat
from common.structured.patterns import BadPattern, read_pattern
from common.structured.refusal import FOREVER, unusable
from common.structured.schema import Translation

FIELD = "params.output"  # what errors name, with the kind of the format behind it
MOST_KNOWN = 256  # formats whose grammars are kept

# How JSON is written: the least white space that models write, a limit to it, so that no text is
# white space without end. Escapes stand only where JSON needs them, which is llguidance's default;
# 1.7, which comes with vLLM, has no option that says so.
WHITE_SPACE = r" |\n {0,40}"
JSON_STYLE = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_pattern": WHITE_SPACE,
    "coerce_one_of": False,
    "lenient": False,
}
# Any JSON object. Numbers end before they are too large for a reader.
ANY_OBJECT = rf"""start: object
object: "{{" BLANK? (member ("," BLANK? member)*)? "}}"
member: STRING BLANK? ":" BLANK? value
array: "[" BLANK? (value ("," BLANK? value)*)? "]"
value: (object | array | STRING | NUMBER | LITERAL) BLANK?
BLANK: /{WHITE_SPACE}/
LITERAL: "true" | "false" | "null"
NUMBER: /-?(?:0|[1-9][0-9]{{0,17}})(?:\.[0-9]{{1,20}})?(?:[eE][+\-]?[0-9]{{1,2}})?/
STRING: /"(?:[^"\\\x00-\x1F\x7F]|\\["\\bfnrt]|\\u00[01][0-9a-f])*"/"""


@dataclass(frozen=True)
class Grammar:
    """What a text must be: `source` for llguidance, `json` if the text is to be JSON. `least` are
    the characters that a text has at least; errors name `field`. `sent`: somebody wrote it, so it
    may be ambiguous."""

    source: str
    json: bool = False
    least: int = field(default=0, compare=False)
    field: str = field(default=FIELD, compare=False)
    sent: bool = False

    @cached_property
    def key(self) -> str:
        """The same for equal grammars, and for no others."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def least_tokens(self, longest: int) -> int:
        """The tokens that a text has at least, if none has more than `longest` characters."""
        return -(-self.least // longest)


def grammar_of(output: OutputFormat) -> Grammar | None:
    """The grammar of a format; None where any text will do.

    Raises:
        InvalidRequest: `invalid_grammar`; the message says what cannot be honoured, and where.
    """
    if output.kind == "text":
        return None
    return _grammar(output.kind, json.dumps(output.model_dump(mode="json")[output.kind]))


@lru_cache(MOST_KNOWN)
def _grammar(kind: str, value: str) -> Grammar:
    given = json.loads(value)
    where = f"{FIELD}.{kind}"
    if kind == "json_schema":
        return json_grammar(given, where)
    if kind == "json":
        return lark_grammar(ANY_OBJECT, json=True, least=2, field=where)
    if kind == "choice":
        labels = "|".join(map(lark_string, given))
        least = min(map(len, given))
        return lark_grammar(f"start: LABEL\nLABEL: {labels}", least=least, field=where)
    try:
        if kind == "regex":
            pattern = read_pattern(given, anywhere=False)
            return lark_grammar(f"start: /{pattern.source}/", least=pattern.least, field=where)
        lark = read_lark(given)
    except (BadPattern, BadGrammar) as error:
        raise unusable(str(error), where) from None
    grammar = lark_grammar(lark.source, least=lark.least, field=where)
    return _ending(replace(grammar, sent=True))


def json_grammar(schema: dict[str, Any], where: str) -> Grammar:
    """The grammar of JSON that is valid by this schema, which stands in the field `where`.

    Raises:
        InvalidRequest: as `grammar_of`.
    """
    translation = Translation(schema, where)
    written = translation.schema()
    source = _source({"json_schema": {**written, "x-guidance": JSON_STYLE}})
    return Grammar(source, json=True, least=translation.least, field=where)


def json_rule(schema: dict[str, Any], where: str) -> str:
    """JSON that is valid by this schema, as a part of a Lark grammar of ours.

    Raises:
        InvalidRequest: as `grammar_of`.
    """
    written = Translation(schema, where).schema()
    return f"%json {_text({**written, 'x-guidance': JSON_STYLE})}"


def lark_grammar(lark: str, *, json: bool = False, least: int = 0, field: str = FIELD) -> Grammar:
    """A grammar that was written here; one that was sent goes through `read_lark` first."""
    return Grammar(_source({"lark_grammar": lark}), json, least, field)


def _ending(grammar: Grammar) -> Grammar:
    if grammar.least >= FOREVER:
        raise unusable(
            "allows no text that ends: something needs itself, or can never be", grammar.field
        )
    return grammar


def _source(grammar: dict[str, Any]) -> str:
    return _text({"grammars": [grammar]})


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
