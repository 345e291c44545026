"""The values of a table as JSON, the same for the same table whatever library holds it.

None, NaN, NaT and NA are null. Numbers, truth values, lists and objects stay what they are;
infinities, decimals, dates, times, durations and UUIDs become text as the API writes them, bytes
become base64. Whatever else is left becomes its `str`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import IO, Any

from promptmill.errors import TableError

MOST_DEPTH = 64  # lists in lists


def write_rows(file: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSONL.

    Raises:
        TableError: a value has no JSON; the message names its row (from 1) and column.
    """
    for count, row in enumerate(rows, 1):
        cells = {}
        for name, value in row.items():
            try:
                cells[name] = json_value(value)
            except (ValueError, TypeError) as error:
                raise TableError(f"row {count}, column {name!r}: {error}") from None
        try:
            line = json.dumps(cells, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            file.write(line.encode() + b"\n")
        except UnicodeEncodeError:
            name = next(name for name in cells if _has_surrogate([name, cells[name]]))
            raise TableError(
                f"row {count}, column {name!r}: the text has half of a surrogate pair, which no "
                "file and no model can hold; clean it with text.encode('utf-8', 'replace')"
            ) from None


def json_value(value: Any, depth: int = 0) -> Any:
    """A value of a table as JSON's None, bool, int, float, str, list or dict."""
    if value is None or isinstance(value, bool | int | str):
        return _plain(value)
    if isinstance(value, float):
        return _number(float(value))
    if depth > MOST_DEPTH:
        raise ValueError(f"lists in lists, more than {MOST_DEPTH} deep")
    if isinstance(value, Mapping):
        return {str(name): json_value(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner, depth + 1) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((json_value(inner, depth + 1) for inner in value), key=json.dumps)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return _text_of(value) if _is_stdlib(value) else _foreign(value, depth)


def _plain(value: Any) -> Any:
    """Without subclasses such as enumerations and numpy's text, which print in other ways."""
    for kind in (str, int):
        if isinstance(value, kind) and type(value) not in (kind, bool):
            return kind.__str__(value) if kind is str else int(value)
    return value


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _is_stdlib(value: Any) -> bool:
    return isinstance(value, Decimal | dt.date | dt.time | dt.timedelta)


def _text_of(value: Any) -> str | None:
    """Decimals, dates and times, as the API writes them; pandas' timestamps are datetimes, too."""
    if value != value:  # NaT, and a decimal that is not a number
        return None
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else _infinite(value)
    if isinstance(value, dt.timedelta):
        return _duration(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return _short(value.astimezone(dt.UTC).isoformat().removesuffix("+00:00")) + "Z"
    return _short(value.isoformat())


def _infinite(value: Decimal) -> str:
    return "Infinity" if value > 0 else "-Infinity"


def _short(text: str) -> str:
    """Without the zeros at the end of a fraction of seconds."""
    whole, dot, fraction = text.partition(".")
    digits = fraction.rstrip("0")
    return whole + (dot + digits if digits else "")


def _duration(value: dt.timedelta) -> str:
    """ISO 8601, in seconds: `PT5400.5S`."""
    micros = value // dt.timedelta(microseconds=1)
    seconds, rest = divmod(abs(micros), 10**6)
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f"PT{'-' if micros < 0 else ''}{seconds}{fraction}S"


def _foreign(value: Any, depth: int) -> Any:
    """Scalars, arrays and series of other libraries, told by what they can do."""
    if str(value) in ("<NA>", "NaT"):
        return None
    kind = type(value).__name__
    if kind == "datetime64":  # of nanoseconds: their `item` is a number
        return _short(str(value))
    if kind == "timedelta64":
        return _duration(value.astype("timedelta64[us]").item())
    for method in ("tolist", "to_list", "item"):  # numpy's arrays and scalars, polars' series
        if callable(convert := getattr(value, method, None)):
            plain = convert()
            if type(plain) is type(value) or isinstance(plain, type(value)):
                break
            return json_value(plain, depth + 1)
    return str(value)


def _has_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
