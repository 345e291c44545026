"""Reads a JSON object with long lists or objects an entry at a time, without building it whole.

Python's parser builds a whole text at once: 15 MB of short items take hundreds of MB, and seconds
in which no other request is served. Here a window of the text is decoded at a time, and other
requests are served between entries."""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.cooperate import Steps
from common.types import JsonObject
from web.intake.strict_json import (
    DECODER,
    MOST_KEYS,
    SMALL,
    BadJson,
    TooMuch,
    explained,
    parse,
    refuse_surrogates,
    spot,
    value_end,
)

MOST_BESIDE = 256 * 2**10  # bytes of an object beside its long lists
BORDER = 4  # characters before a window's end in which a number may look complete: `1e+`
SPACE = re.compile(r"[ \t\n\r]*+")


class TooLong(TooMuch):
    """A list has more entries than it may."""


@dataclass(frozen=True)
class Entries:
    """A list that is still text, checked to be valid JSON. Other requests are served between its
    entries."""

    raw: bytes
    at: int  # byte behind its `[`
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return _Cursor(self.raw, self.at).entries()


@dataclass(frozen=True)
class Pairs:
    """An object that is still text, checked as `Entries` are; its keys are different. It gives
    pairs of key and value."""

    raw: bytes
    at: int  # byte of its `{`
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _Cursor(self.raw, self.at).pairs()


Long = Sequence[Any] | Entries


def read_object(raw: bytes, lists: Mapping[str, int]) -> Any:
    """What `parse` makes of `raw`. In a long text, the lists named in `lists` become `Entries` if
    there are strings, lists or objects in them, and objects of these names `Pairs`. The numbers are
    how many entries each may have.

    Raises:
        TooLong: it has more.
        BadJson: as `parse`.
    """
    if len(raw) <= SMALL and (not lists or raw.count(b":") <= MOST_KEYS):
        return parse(raw)
    cursor = _Cursor(raw, 0)
    if cursor.peek() != "{":
        return parse(raw)
    return cursor.object(lists)


class _Cursor:
    """A place in a text of JSON. A window of the text, which begins there or before, is decoded."""

    def __init__(self, raw: bytes, at: int):
        self._raw = raw
        self._steps = Steps()
        self._look(at)

    def _look(self, at: int) -> None:
        """Go to byte `at`, and decode the window from there."""
        self._begin, self._place = at, 0  # a byte of the whole, a character of the window
        is_last = at + SMALL >= len(self._raw)
        try:
            self._text, used = utf_8_decode(self._raw[at : at + SMALL], "strict", is_last)
        except UnicodeDecodeError as error:
            raise explained(error, f"byte {at + error.start + 1}") from None
        self._is_last = at + used == len(self._raw)

    @property
    def at(self) -> int:
        """The place, as a byte of the whole text."""
        return self._begin + len(self._text[: self._place].encode())

    def object(self, lists: Mapping[str, int]) -> JsonObject:
        """The object that is here, with which the text ends."""
        found: JsonObject = {}
        beside = 0
        self._expect("{")
        for name in self._names():
            if name in found:
                raise BadJson(f"the key {name[:64]!r} appears more than once")
            begin = self.at
            found[name] = self._list(name, lists[name]) if name in lists else self.value()
            if name not in lists:
                beside += self.at - begin
            if beside > MOST_BESIDE or len(found) > MOST_KEYS:
                beside_what = f" beside {' and '.join(lists)}" if lists else ""
                raise TooMuch(
                    f"what is in it{beside_what} may have {MOST_BESIDE:,} bytes, {MOST_KEYS:,} keys"
                )
        if self.peek():
            raise self._bad("Extra data")
        return found

    def _names(self) -> Iterator[str]:
        """The keys of an object, up to its end; the value of each is to be read before the next key
        is asked for."""
        if self._take("}"):
            return
        while True:
            if self.peek() != '"':
                raise self._bad("Expecting property name enclosed in double quotes")
            name = self.value()
            self._expect(":")
            yield name
            if self._take("}"):
                return
            self._expect(",")

    def _list(self, name: str, most: int) -> Any:
        """The value that is here; as `Entries` if it is a list that would be large in memory, as
        `Pairs` if it is an object."""
        if self.peek() == "{":
            return self._object_of(name, most)
        if self.peek() != "[":
            return self.value()
        begin = self.at
        self._expect("[")
        if self.peek() not in ('"', "[", "{"):
            self._look(begin)
            return self.value()
        begin, count = self.at, 0
        for count, _ in enumerate(self.entries(), 1):
            if count > most:
                raise TooLong(f"{name} has more than {most:,} entries")
        return Entries(self._raw, begin, count)

    def _object_of(self, name: str, most: int) -> Pairs:
        begin, keys = self.at, set[str]()
        for key, _ in self.pairs():
            if key in keys:
                raise BadJson(f"the key {key[:64]!r} appears more than once in {name}")
            keys.add(key)
            if len(keys) > most:
                raise TooLong(f"{name} has more than {most:,} entries")
        return Pairs(self._raw, begin, len(keys))

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """The keys and values of the object that is here, up to its end."""
        self._expect("{")
        for key in self._names():
            yield key, self.value()
            self._steps.step()

    def entries(self) -> Iterator[Any]:
        """The entries of a list, whose `[` was taken, up to its end."""
        if self._take("]"):
            return
        while True:
            yield self.value()
            self._steps.step()
            if self._take("]"):
                return
            self._expect(",")

    def value(self) -> Any:
        """The value that is here."""
        self.peek()
        for again in (True, False):
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
                refuse_surrogates(value, self._text, self._place, end)
            except (ValueError, RecursionError) as error:
                if self._is_last:
                    raise self._explained(error) from None
            else:
                if self._is_last or end + BORDER <= len(self._text):
                    self._place = end
                    return value
            if again:
                self._look(self.at)
        return self._wide()

    def _wide(self) -> Any:
        """A value that is longer than a window."""
        if self._text[0] not in '"[{':
            raise self._bad("Expecting value")
        begin = self._begin
        end = value_end(self._raw, begin)
        try:
            value = parse(self._raw[begin:end])
        except TooMuch:
            raise
        except BadJson as error:
            raise BadJson(f"{error}, counted from {self._spot(begin)}") from None
        self._look(end)
        return value

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            found = SPACE.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if self._is_last:
                return ""
            self._steps.step()
            self._look(self._begin + len(self._text.encode()))

    def _take(self, wanted: str) -> bool:
        if self.peek() != wanted:
            return False
        self._place += 1
        return True

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._bad(f"Expecting {wanted!r}")

    def _bad(self, what: str) -> BadJson:
        return BadJson(f"not valid JSON at {self._spot(self.at)}: {what}")

    def _explained(self, error: ValueError | RecursionError) -> BadJson:
        place = getattr(error, "pos", self._place)
        return explained(error, self._spot(self._begin + len(self._text[:place].encode())))

    def _spot(self, at: int) -> str:
        line_begin = self._raw.rfind(b"\n", 0, at) + 1
        line = self._raw.count(b"\n", 0, line_begin) + 1
        return spot(line, len(self._raw[line_begin:at].decode(errors="replace")) + 1)
