"""Reads one call of a function while its text comes: `{"name": "f", "arguments": {…}}`.

Knows JSON, and nothing of what stands around a call (`tool_calls.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, Literal

# What models call the arguments, and what else may stand beside a name.
ARGUMENTS = ("arguments", "parameters")
KEYS = ("name", "type", "id", *ARGUMENTS)
SPACE = " \t\n\r"
# What matters inside a string, and inside the values of the object.
IN_STRING, IN_VALUE = re.compile(r'["\\]'), re.compile(r'["{}\[\]]')


class CallScanner:
    """Reads the characters of one object. `state` is `done` behind its last bracket, and `wrong`
    as soon as it can be no call of one of the `names`."""

    def __init__(self, names: Collection[str]):
        self._names = names
        self.text = ""
        self.state: Literal["open", "done", "wrong"] = "open"
        self._depth = 0
        self._in_string = self._escaped = False
        self._string = 0  # where the last string of the object itself begins
        self._key: str | None = None  # whose value is awaited
        self._value: int | None = None  # where that begins
        self._spans: dict[str, tuple[int, int | None]] = {}

    def feed(self, text: str) -> int:
        """Take characters as long as the object is open; how many."""
        before = place = len(self.text)
        self.text += text
        while place < len(self.text) and self.state == "open":
            self._step(self.text[place], place)
            place = self._next(place + 1)
        if self.state != "open":
            self.text = self.text[:place]
        return len(self.text) - before

    def _next(self, place: int) -> int:
        """The next place from here on at which something may begin or end."""
        if self.state != "open" or self._escaped or (self._depth < 2 and not self._in_string):
            return place
        found = (IN_STRING if self._in_string else IN_VALUE).search(self.text, place)
        return found.start() if found else len(self.text)

    def _step(self, char: str, place: int) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
                if self._depth == 1:
                    self._end_string(place)
            return
        if self._depth == 0 and char != "{":
            self.state = "open" if char in SPACE else "wrong"
            return
        if self._depth == 1 and self._key is not None and self._value is None:
            if char in SPACE or char == ":":
                return
            self._value = place
            self._spans[self._key] = place, None
        if char == '"':
            self._in_string, self._string = True, place
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._close(place)
        elif self._depth == 1 and char == ",":
            self._end_value(place)
        elif self._depth == 1 and self._key is None and char not in SPACE:
            self.state = "wrong"  # a key was due

    def _end_string(self, place: int) -> None:
        if self._key is not None:
            self._end_value(place + 1)
            return
        key = _loaded(self.text[self._string : place + 1])
        if key not in KEYS:
            self.state = "wrong"
        self._key = key if isinstance(key, str) else None

    def _end_value(self, end: int) -> None:
        """The value that was awaited ends before `end`."""
        if self._key is None or self._value is None:
            return
        self._spans[self._key] = self._value, end
        if self._key == "name" and self.name is None:
            self.state = "wrong"
        self._key = self._value = None

    def _close(self, place: int) -> None:
        if self._depth == 1:
            self._end_value(place)
        self._depth -= 1
        if self._depth == 1:
            self._end_value(place + 1)
        elif self._depth == 0:
            self.state = "done"

    @property
    def name(self) -> str | None:
        """The function's name, once it is there."""
        begin, end = self._spans.get("name", (0, None))
        found = None if end is None else _loaded(self.text[begin:end])
        return found if isinstance(found, str) and found in self._names else None

    @property
    def arguments(self) -> str:
        """The text of the arguments, as far as it is there."""
        for key in ARGUMENTS:
            if key in self._spans:
                begin, end = self._spans[key]
                return self.text[begin:end]
        return ""

    def whole_arguments(self) -> str | None:
        """The text of the arguments, an object; None if the object that was read is no call."""
        if self.state != "done" or self.name is None or not isinstance(_loaded(self.text), dict):
            return None
        text = self.arguments
        value = _loaded(text) if text else None
        if isinstance(value, str):  # an object, written as text
            text, value = value, _loaded(value)
        return text.strip() if isinstance(value, dict) else None


def _loaded(text: str) -> Any:
    """The value of strict JSON; None for what is none."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None


def _no_json(name: str) -> Any:
    raise ValueError(name)
