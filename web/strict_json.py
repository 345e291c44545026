"""JSON as RFC 8259 means it: no NaN, no overflow to infinity, no repeated keys, no lone surrogates, no stack overflow.

Python's own parser takes all of these, and each would come out somewhere behind the entrance.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadJson(ValueError):
    """The message says what and where, for people."""


def parse(raw: bytes | str) -> Any:
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        value = _DECODER.decode(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BadJson(f"not valid UTF-8 at byte {error.start + 1}") from None
    except UnicodeEncodeError:
        raise BadJson("a \\u escape is half of a surrogate pair, which is no character") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadJson(f"not valid JSON at {place}: {error.msg}") from None
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except BadJson:
        raise
    except ValueError:  # Python's guard against quadratic time
        raise BadJson("a number has too many digits") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise BadJson(f"the key {repeated[:64]!r} appears more than once")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise BadJson(f"the number {text[:32]} is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
