"""Regular expressions: read, bounded, and written for llguidance.

What JSON Schema's `pattern` and `output.regex` take is what the common dialects agree on: literals,
classes, groups, alternatives, repetitions, and anchors at the ends. Where dialects disagree, the
narrower meaning is taken, so that a text matches in all of them: `\\d`, `\\w` and `\\s` are ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from common.structured.pattern_signs import (
    CONTROLS,
    COUNT,
    FLAGS,
    GROUP,
    LOOKS,
    NARROW,
    OPERATORS,
    PLAIN,
    POSIX,
    PROPERTY,
    WIDE,
    Part,
    code_of,
    literal,
    most_optional,
)

MOST_REPEATED = 10_000  # repetitions, those of nested ones multiplied
MOST_SIGNS = 1_000  # signs of repetition
MOST_NESTED = 32  # groups inside each other
# Parts in a row that may be left out (`a?b?c?`): each of them may be the next, and what a model's
# longer tokens cost grows with the square.
MOST_OPTIONAL = 200


class BadPattern(ValueError):
    """The expression cannot be used; the message says why."""


@dataclass(frozen=True)
class Pattern:
    """`source` is for llguidance, without delimiters; `least` are the characters that a match has
    at least, `repeats` the most repetitions on any way through it, `signs` are those of
    repetition."""

    source: str
    least: int
    repeats: int = 1
    signs: int = 0


def read_pattern(text: str, *, anywhere: bool) -> Pattern:
    """An expression that matches the whole text, or `anywhere` in it, as JSON Schema means it.

    Raises:
        BadPattern
    """
    return _Reader(text, anywhere).pattern()


class _Reader:
    def __init__(self, text: str, anywhere: bool):
        self.text, self.at, self.depth, self.anywhere = text, 0, 0, anywhere
        self.signs = 0

    def pattern(self) -> Pattern:
        flags = ""
        if (found := FLAGS.match(self.text)) and not self.anywhere:
            flags, self.at = found[0], found.end()
        whole = self._alternatives("s" in flags)
        if self.at < len(self.text):
            raise BadPattern("has a ) without its (")
        return Pattern(flags + whole.source, whole.least, whole.repeats, self.signs)

    def _alternatives(self, dot_is_all: bool) -> Part:
        found = [self._sequence(dot_is_all)]
        while self._take("|"):
            found.append(self._sequence(dot_is_all))
        return Part(
            "|".join(part.source for part in found),
            min(part.least for part in found),
            max(part.repeats for part in found),
            optional=max(part.optional for part in found),
        )

    def _sequence(self, dot_is_all: bool) -> Part:
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if parts and parts[-1].is_anchor and parts[-1].source == "$":
                raise BadPattern("has a $ that is not at the end")
            if self.text[self.at] == "^" and parts:
                raise BadPattern("has a ^ that is not at the beginning")
            parts.append(self._run() or self._repeated(dot_is_all))
        # Where the whole text is meant, anchors at its ends say nothing.
        kept = [part for part in parts if self.anywhere or not part.is_anchor]
        optional = most_optional(kept) if len(kept) > 1 else sum(part.optional for part in kept)
        if optional > MOST_OPTIONAL:
            raise BadPattern(f"has more than {MOST_OPTIONAL} parts in a row that may be left out")
        return Part(
            "".join(part.source for part in kept),
            sum(part.least for part in kept),
            max((part.repeats for part in kept), default=1),
            optional=optional,
        )

    def _run(self) -> Part | None:
        """Characters that stand for themselves, all at once; None if there are none, or one that is
        repeated."""
        found = PLAIN.match(self.text, self.at)
        if not found:
            return None
        repeated = self.text[found.end() : found.end() + 1] in ("*", "+", "?", "{")
        run = found[0][:-1] if repeated else found[0]
        self.at += len(run)
        return Part(run, len(run)) if run else None

    def _repeated(self, dot_is_all: bool) -> Part:
        atom = self._atom(dot_is_all)
        low, high, source = self._quantifier()
        if not source:
            return atom
        self.signs += 1
        if self.signs > MOST_SIGNS:
            raise BadPattern(f"has more than {MOST_SIGNS:,} repetitions")
        if atom.is_anchor:
            raise BadPattern("repeats an anchor")
        repeats = atom.repeats * (high if high is not None else max(low, 1))
        if repeats > MOST_REPEATED:
            raise BadPattern(
                f"repeats something up to {repeats:,} times, nested repetitions multiplied; "
                f"{MOST_REPEATED:,} are allowed"
            )
        if self._take("?") or not self._next("+*{"):  # a lazy one matches the same whole texts
            return Part(
                f"{atom.source}{source}",
                atom.least * low,
                max(repeats, 1),
                optional=atom.optional + (low == 0),
            )
        raise BadPattern("repeats a repetition; put it into a group")

    def _quantifier(self) -> tuple[int, int | None, str]:
        """The least and the most repetitions, and how they are written; "" for none."""
        for sign, low, high in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._take(sign):
                return low, high, sign
        if found := COUNT.match(self.text, self.at):
            self.at = found.end()
            low = int(found[1])
            high = low if not found[2] else int(found[3]) if found[3] else None
            if high is not None and high < low:
                raise BadPattern(f"has {found[0]}, with the larger number first")
            return low, high, f"{{{low},{'' if high is None else high}}}"
        if self.text.startswith("{,", self.at):
            raise BadPattern("has {,n}; write {0,n}")
        return 1, 1, ""

    def _atom(self, dot_is_all: bool) -> Part:
        character = self.text[self.at]
        self.at += 1
        match character:
            case "(":
                return self._group(dot_is_all)
            case "[":
                return Part(self._class(), 1)
            case "\\":
                return Part(self._escape(in_brackets=False, wide=False), 1)
            case ".":
                ends = "\\n\\r\\x{2028}\\x{2029}" if self.anywhere else "\\n"
                return Part("(?s:.)" if dot_is_all else f"[^{ends}]", 1)
            case "^" | "$":
                if self.depth:
                    raise BadPattern(f"has {character} inside a group")
                return Part(character, 0, is_anchor=True)
            case "*" | "+" | "?":
                raise BadPattern(f"has {character} with nothing before it to repeat")
        return Part(literal(character), 1)

    def _group(self, dot_is_all: bool) -> Part:
        rest = self.text[self.at : self.at + 70]
        if rest.startswith(LOOKS):
            raise BadPattern("has a look-around (?=, (?!, (?<= or (?<!, which is not supported")
        if found := GROUP.match(self.text, self.at):
            self.at = found.end()
        elif rest.startswith("?"):
            raise BadPattern(f"has ({rest[:2]}, which is not supported")
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise BadPattern(f"has more than {MOST_NESTED} groups inside each other")
        inner = self._alternatives(dot_is_all)
        self.depth -= 1
        if not self._take(")"):
            raise BadPattern("has a ( without its )")
        return replace(inner, source=f"(?:{inner.source})")

    def _class(self) -> str:
        negated = self._take("^")
        found = ["[^" if negated else "["]
        if self._next("]") and not self.anywhere:
            raise BadPattern("has a ] first in a class, which dialects read differently; write \\]")
        while not self._next("]"):
            self._refuse_operators()
            low = self._member(negated)
            if self._next("-") and not self.text.startswith("-]", self.at):
                self.at += 1
                high = self._member(negated)
                if code_of(self._end(low)) > code_of(self._end(high)):
                    raise BadPattern(f"has the range {low}-{high}, with the larger first")
                found.append(f"{low}-{high}")
            else:
                found.append(low)
        self.at += 1
        if len(found) == 1:
            if not negated:
                raise BadPattern("has an empty class []")
            return "(?s:.)"
        return "".join([*found, "]"])

    def _refuse_operators(self) -> None:
        """Some dialects read these in a class as more than their characters."""
        if found := POSIX.match(self.text, self.at):
            raise BadPattern(f"has {found[0][:32]} in a class, which is not supported")
        if (two := self.text[self.at : self.at + 2]) in OPERATORS:
            raise BadPattern(f"has {two} in a class, which dialects read differently")

    def _member(self, wide: bool) -> str:
        if self.at >= len(self.text):
            raise BadPattern("has a [ without its ]")
        character = self.text[self.at]
        self.at += 1
        return (
            self._escape(in_brackets=True, wide=wide) if character == "\\" else literal(character)
        )

    def _end(self, member: str) -> str:
        """An end of a range, which is one character."""
        if member.startswith("[") or member in (*NARROW.values(), *WIDE.values()):
            raise BadPattern("has a range of characters with a class at its end")
        return member

    def _escape(self, *, in_brackets: bool, wide: bool) -> str:
        if self.at >= len(self.text):
            raise BadPattern("ends with a backslash")
        letter = self.text[self.at]
        if letter in NARROW:
            self.at += 1
            source = (WIDE if wide else NARROW)[letter]
            return source if in_brackets or source.startswith("[") else f"[{source}]"
        if found := PROPERTY.match(self.text, self.at):
            self.at = found.end()
            return f"\\{found[0]}"
        self.at += 1
        if letter in "bB" and not (in_brackets and letter == "b"):
            raise BadPattern(f"has \\{letter}, a look-around, which is not supported")
        if letter in "123456789k":
            raise BadPattern(f"has \\{letter}, a back-reference, which is not supported")
        return literal(self._character(letter))

    def _character(self, letter: str) -> str:
        """The character that an escape stands for."""
        if letter in CONTROLS:
            return CONTROLS[letter]
        if letter == "b":  # in brackets
            return "\b"
        if letter == "c" and self.anywhere and self.text[self.at : self.at + 1].isalpha():
            self.at += 1
            return chr(ord(self.text[self.at - 1]) % 32)
        if letter in "xu":
            for form in (r"x([0-9A-Fa-f]{2})", r"u([0-9A-Fa-f]{4})", r"u\{([0-9A-Fa-f]{1,6})\}"):
                if found := re.compile(form).match(self.text, self.at - 1):
                    self.at = found.end()
                    code = int(found[1], 16)
                    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                        raise BadPattern(f"has \\{found[0]}, which is no character")
                    return chr(code)
        if letter.isalnum():
            raise BadPattern(f"has \\{letter}, an escape that is not known")
        return letter

    def _take(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += 1
            return True
        return False

    def _next(self, signs: str) -> bool:
        return self.at < len(self.text) and self.text[self.at] in signs
