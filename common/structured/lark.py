"""Grammars in Lark's notation: read, bounded, and written anew for llguidance.

What llguidance has beside Lark's notation is refused by name: other grammars and schemas inside,
special tokens, options of rules. Since it gets what was written here, nothing can be hidden from
these checks in comments or strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.structured.lark_tokens import BadGrammar, Token, lark_string, lark_tokens
from common.structured.patterns import MOST_OPTIONAL, MOST_REPEATED, BadPattern, read_pattern
from common.structured.refusal import FOREVER, shown

MOST_ROUNDS = 8  # in which rules that name each other come to rest
MOST_SIGNS = 2_000  # of repetition, in all expressions
MOST_NESTED = 32  # brackets inside each other
OPTIONAL = re.compile(r"([?*\]]|\{0,\d*\})$")

COMMON = frozenset(
    {
        *("DIGIT", "HEXDIGIT", "INT", "SIGNED_INT", "DECIMAL", "FLOAT", "SIGNED_FLOAT", "NUMBER"),
        *("SIGNED_NUMBER", "ESCAPED_STRING", "LCASE_LETTER", "UCASE_LETTER", "LETTER", "WORD"),
        *("CNAME", "WS_INLINE", "WS", "CR", "LF", "NEWLINE"),
    }
)


@dataclass(frozen=True)
class _Part:
    """A piece of a definition: how it is written; its least characters and most repetitions, from
    those of the names in it."""

    source: str
    least: Callable[[Mapping[str, int]], int]
    repeats: Callable[[Mapping[str, int]], int]


@dataclass(frozen=True)
class LarkGrammar:
    """`source` is for llguidance; `least` are the characters of the shortest text, at least."""

    source: str
    least: int


def read_lark(text: str) -> LarkGrammar:
    """A grammar whose texts are those of `start`.

    Raises:
        BadGrammar
    """
    return _Reader(lark_tokens(text)).grammar()


@dataclass
class _Reader:
    tokens: list[Token]
    at: int = 0
    depth: int = 0
    signs: int = 0  # of repetition, in all expressions
    lines: list[str] = field(default_factory=list)
    parts: dict[str, _Part] = field(default_factory=dict)

    def grammar(self) -> LarkGrammar:
        while self._now.kind != "end":
            if self._take("newline") is None:
                self._definition()
        if "start" not in self.parts:
            raise BadGrammar("has no rule `start`")
        repeats = self._settled("repeats", 1)
        least = self._settled("least", FOREVER)
        most = max(repeats.values()) if repeats else MOST_REPEATED + 1
        if most > MOST_REPEATED:
            raise BadGrammar(
                f"repeats something more than {MOST_REPEATED:,} times, nested repetitions "
                "multiplied"
            )
        return LarkGrammar("\n".join(self.lines), least["start"] if least else 0)

    def _settled(self, what: str, first: int) -> dict[str, int]:
        """The number of each definition, once those that name each other have come to rest; none
        if they do not. Repetitions in a circle count once."""
        known = dict.fromkeys(self.parts, first)
        for _ in range(MOST_ROUNDS):
            before = dict(known)
            for name, part in reversed(self.parts.items()):
                known[name] = getattr(part, what)(known)
            if known == before or (what == "repeats" and max(known.values()) > MOST_REPEATED):
                return known
        return {}

    @property
    def _now(self) -> Token:
        return self.tokens[self.at]

    def _take(self, kind: str, text: str | None = None) -> str | None:
        token = self._now
        if token.kind != kind or (text is not None and token.text != text):
            return None
        self.at += 1
        return token.text

    def _expect(self, kind: str, text: str | None = None) -> str:
        found = self._take(kind, text)
        if found is None:
            raise self._bad(f"where {text or f'a {kind}'} is expected")
        return found

    def _bad(self, why: str) -> BadGrammar:
        token = self._now
        return BadGrammar(f"has {shown(token.text or 'the end')} in line {token.line}, {why}")

    def _definition(self) -> None:
        line = self._now.line
        if statement := self._take("statement"):
            self._statement(statement, line)
        else:
            name = self._expect("name").lstrip("!?")
            if self._now.text == "[":
                raise self._bad("but options of rules are not supported")
            if self._now.text == ".":
                raise self._bad("but priorities are not supported")
            self._expect("sign", ":")
            if name in self.parts:
                raise BadGrammar(f"defines {shown(name)} twice, again in line {line}")
            self.parts[name] = part = self._alternatives(over_lines=True)
            self.lines.append(f"{name}: {part.source}")
        self._expect("newline")

    def _statement(self, statement: str, line: int) -> None:
        if statement == "%ignore":
            self.lines.append(f"%ignore {self._alternatives(over_lines=True).source}")
            return
        if self._expect("name") != "common":
            raise BadGrammar(f"imports in line {line} what is not in `common`")
        if self._take("sign", "."):
            names = [self._expect("name")]
        else:
            self._expect("sign", "(")
            names = [self._expect("name")]
            while self._take("sign", ","):
                names.append(self._expect("name"))
            self._expect("sign", ")")
        alias = self._expect("name") if self._take("sign", "->") else None
        for name in names:
            if name not in COMMON:
                raise BadGrammar(f"imports common.{name[:64]} in line {line}, which is not known")
            self.parts[alias or name] = _constant("", 1)
            self.lines.append(f"%import common.{name}" + (f" -> {alias}" if alias else ""))

    def _alternatives(self, over_lines: bool = False) -> _Part:
        found = [self._sequence()]
        while self._bar(over_lines or self.depth > 0):
            found.append(self._sequence())
        return _Part(
            " | ".join(part.source for part in found),
            lambda known: min(part.least(known) for part in found),
            lambda known: max(part.repeats(known) for part in found),
        )

    def _bar(self, over_lines: bool) -> bool:
        begin = self.at
        while over_lines and self._take("newline") is not None:
            pass
        if self._take("sign", "|"):
            return True
        if not self.depth:
            self.at = begin
        return False

    def _sequence(self) -> _Part:
        found: list[_Part] = []
        while self._now.kind in ("string", "regex", "name") or self._now.text in ("(", "["):
            found.append(self._repeated())
            while self.depth and self._take("newline") is not None:
                pass
        run = 0
        for part in found:
            run = run + 1 if OPTIONAL.search(part.source) else 0
            if run > MOST_OPTIONAL:
                raise self._bad(f"after {MOST_OPTIONAL} parts in a row that may be left out")
        if self._take("sign", "->"):  # what a parser would call it
            self._expect("name")
        return _Part(
            " ".join(part.source for part in found) or '""',
            lambda known: min(FOREVER, sum(part.least(known) for part in found)),
            lambda known: max((part.repeats(known) for part in found), default=1),
        )

    def _repeated(self) -> _Part:
        atom = self._atom()
        low, high, written = self._quantifier()
        if not written:
            return atom
        if self._now.text in ("+", "*", "?", "~") or self._now.kind == "count":
            raise self._bad("a repetition of a repetition; put it into brackets")
        return _Part(
            f"{atom.source}{written}",
            lambda known: min(FOREVER, atom.least(known) * low),
            lambda known: min(FOREVER, atom.repeats(known) * high),
        )

    def _quantifier(self) -> tuple[int, int, str]:
        for sign, low in (("+", 1), ("*", 0), ("?", 0)):
            if self._take("sign", sign):
                return low, 1, sign
        if count := self._take("count"):
            low_text, comma, high_text = count.strip("{}").replace(" ", "").partition(",")
        elif self._take("sign", "~"):
            low_text = self._expect("number")
            comma = "," if self._take("sign", "..") else ""
            high_text = self._expect("number") if comma else ""
        else:
            return 1, 1, ""
        low = int(low_text)
        high = int(high_text) if high_text else low
        if high < low or not high:
            raise self._bad("after a repetition that is empty or has the larger number first")
        return low, high, f"{{{low},{high if high_text or not comma else ''}}}"

    def _atom(self) -> _Part:
        if self._now.text in ("(", "["):
            return self._brackets()
        if name := self._take("name"):
            plain = name.lstrip("!?")
            return _Part(
                plain,
                lambda known: known.get(plain, 0),
                lambda known: known.get(plain, 1),
            )
        if regex := self._take("regex"):
            return self._regex(regex)
        text = self._string(self._expect("string"))
        if self._take("sign", ".."):
            return _constant(f"{text}..{self._string(self._expect('string'))}", 1)
        return _constant(text, len(json.loads(text.removesuffix("i"))))

    def _brackets(self) -> _Part:
        opening = self._expect("sign")
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise BadGrammar(f"has more than {MOST_NESTED} brackets inside each other")
        while self._take("newline") is not None:
            pass
        inner = self._alternatives()
        self.depth -= 1
        self._expect("sign", ")" if opening == "(" else "]")
        if opening == "(":
            return _Part(f"({inner.source})", inner.least, inner.repeats)
        return _Part(f"[{inner.source}]", lambda _known: 0, inner.repeats)

    def _regex(self, text: str) -> _Part:
        inner, _, flags = text[1:].rpartition("/")
        if set(flags) - {"i", "s"}:
            raise BadGrammar(f"has a regular expression with the flags {shown(flags)}")
        try:
            found = read_pattern(f"(?{flags}){inner}" if flags else inner, anywhere=False)
        except BadPattern as error:
            raise BadGrammar(f"has a regular expression that {error}: {shown(text)}") from None
        self.signs += found.signs
        if self.signs > MOST_SIGNS:
            raise BadGrammar(f"has more than {MOST_SIGNS:,} repetitions in regular expressions")
        return _constant(f"/{found.source}/", found.least, found.repeats)

    def _string(self, text: str) -> str:
        flag = "i" if text.endswith("i") else ""
        try:
            value = json.loads(text.removesuffix("i"))
            value.encode()
        except ValueError:
            raise BadGrammar(
                f"has a string with an escape that is not known: {shown(text)}"
            ) from None
        return lark_string(value) + flag


def _constant(source: str, least: int, repeats: int = 1) -> _Part:
    return _Part(source, lambda _known: least, lambda _known: repeats)
