"""Parses JSON as RFC 8259 means it: no NaN, no overflow to infinity, no repeated keys, no lone
surrogates, no stack overflow.

Python's own parser accepts all of these, and each would cause an error later. It also builds
whatever it is sent, and no other request is served meanwhile; so the size of a value is checked
before it is built.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from common.cooperate import Steps
from common.types import JsonObject

SMALL = 64 * 2**10  # bytes; a shorter text cannot hold too much
# In one list or object: the token ids of the longest context, and what is beside them.
MOST_VALUES = 2**20 + 2**16
# Objects, lists and strings, keys among them, inside one value: a chat of 26,000 messages.
MOST_PARTS = 2**17
MOST_KEYS = 4096  # of one object
DEEPEST = 1000  # objects and lists inside each other

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
PIECE = 2**20  # bytes of a string that are searched before other requests are served
# A string without escapes, the beginning of another, a bracket, or what is between them.
TOKEN = re.compile(rb'"[^"\\]{0,4096}+"|"|[\[\]{}]|[^"\[\]{}]{1,1048576}+')
IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
QUOTE = b'"'[0]


class BadJson(ValueError):
    """The text is not JSON; the message says what is wrong and where."""


class TooMuch(BadJson):
    """It may be valid JSON, but a value holds more than it may."""


def parse(raw: bytes | str) -> Any:
    try:
        _refuse_too_much(raw)
        text = raw.decode() if isinstance(raw, bytes) else raw
        value = DECODER.decode(text)
        refuse_surrogates(value, text)
    except (ValueError, RecursionError) as error:
        raise explained(error) from None
    return value


def explained(error: ValueError | RecursionError, place: str | None = None) -> BadJson:
    """The message for what Python's parser raised; `place` is where, if that is not where the error
    says."""
    match error:
        case BadJson():
            return error
        case UnicodeDecodeError():
            return BadJson(f"not valid UTF-8 at {place or f'byte {error.start + 1}'}")
        case UnicodeEncodeError():
            return BadJson("a \\u escape is half of a surrogate pair, which is no character")
        case json.JSONDecodeError():
            return BadJson(
                f"not valid JSON at {place or spot(error.lineno, error.colno)}: {error.msg}"
            )
        case RecursionError():
            return BadJson("nested too deeply")
        case _:  # Python's guard against quadratic time
            return BadJson("a number has too many digits")


def spot(line: int, column: int) -> str:
    return f"line {line}, column {column}" if line > 1 else f"column {column}"


def refuse_surrogates(value: Any, text: str, begin: int = 0, end: int | None = None) -> None:
    """Raise `UnicodeEncodeError` if a lone surrogate is in `value`, which was read from
    `text[begin:end]`."""
    if SURROGATE.search(text, begin, len(text) if end is None else end):
        json.dumps(value, ensure_ascii=False).encode()


def value_end(raw: bytes, at: int = 0) -> int:
    """Where the list, object or string that begins at `at` ends; the end of `raw` if it does not.
    Other requests are served meanwhile.

    Raises:
        TooMuch: it holds more than one value may.
        BadJson: it is nested too deeply.
    """
    depth = values = parts = 0
    steps = Steps()
    while token := TOKEN.match(raw, at):
        at = token.end()
        kind = raw[token.start()]
        if kind == QUOTE:
            parts += 1
            if at == token.start() + 1:
                at = _string_end(raw, at, steps)
        elif kind in b"[{":
            depth, parts = depth + 1, parts + 1
        elif kind in b"]}":
            depth -= 1
        else:
            values += token[0].count(b",")
        if depth > DEEPEST:
            raise BadJson("nested too deeply")
        if values > MOST_VALUES:
            raise TooMuch(f"a list or an object in it has more than {MOST_VALUES:,} values")
        if parts > MOST_PARTS:
            raise TooMuch(
                f"one value in it has more than {MOST_PARTS:,} objects, lists and strings"
            )
        if depth <= 0 and kind in b'"]}':
            break
        steps.step()
    return at


def _string_end(raw: bytes, at: int, steps: Steps) -> int:
    """The place after the quote that ends the string whose text goes on at `at`."""
    while found := IN_STRING.match(raw, at, at + PIECE):
        end = found.end()
        if end < len(raw) and raw[end] == QUOTE:
            return end + 1
        if end == at:  # the text ends with a backslash
            break
        at = end
        steps.step()
    return len(raw)


def _refuse_too_much(raw: bytes | str) -> None:
    if len(raw) <= SMALL:
        return
    if isinstance(raw, str):
        raw = raw.encode()
    parts = raw.count(b"{") + raw.count(b"[") + raw.count(b'"') // 2
    if raw.count(b",") > MOST_VALUES or parts > MOST_PARTS:  # some may be in strings
        value_end(raw)


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(
            name for name, count in Counter(name for name, _ in pairs).items() if count > 1
        )
        raise BadJson(f"the key {repeated[:64]!r} appears more than once")
    if len(found) > MOST_KEYS:
        raise TooMuch(f"an object in it has {len(found):,} keys; it may have {MOST_KEYS:,}")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadJson(f"the number {text[:32]} is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
