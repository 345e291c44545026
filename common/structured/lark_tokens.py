"""The pieces of a grammar in Lark's notation: names, strings, expressions, signs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from common.structured.refusal import shown

TOKEN = re.compile(
    r"""(?P<skip>[ \t\f]+|(?:\#|//)[^\n]*)
    |(?P<newline>\r?\n)
    |(?P<string>"(?:\\.|[^"\\\n])*"i?)
    |(?P<regex>/(?:\\.|[^/\\\n])+/[a-z]*)
    |(?P<count>\{[ ]*\d{1,9}[ ]*(?:,[ ]*(?:\d{1,9}[ ]*)?)?\})
    |(?P<name>[!?]{0,2}_?(?:[a-z][_a-z0-9-]*|[A-Z][_A-Z0-9-]*))
    |(?P<number>\d{1,9})
    |(?P<statement>%[a-z]*)
    |(?P<sign>->|\.\.|[:|()\[\]+*?.,~])""",
    re.VERBOSE,
)
REFUSED = {
    "<": "a special token",
    "@": "another grammar",
    "{": "a template",
    "&": "an &",
    "=": "an option of a rule",
}
STATEMENTS = ("%ignore", "%import")


class BadGrammar(ValueError):
    """The grammar cannot be used; the message says what and where."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int


def lark_tokens(text: str) -> list[Token]:
    found, at, line = [], 0, 1
    while at < len(text):
        if not (match := TOKEN.match(text, at)):
            what = REFUSED.get(text[at], shown(text[at]))
            raise BadGrammar(f"has {what} in line {line}, which is not supported")
        kind = match.lastgroup or ""
        if kind == "statement" and match[0] not in STATEMENTS:
            raise BadGrammar(f"has {match[0][:64]} in line {line}, which is not supported")
        if kind != "skip":
            found.append(Token(kind, match[0], line))
        line += kind == "newline"
        at = match.end()
    return [*found, Token("newline", "", line), Token("end", "", line)]


def lark_string(text: str) -> str:
    """A text as Lark has it in quotes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
