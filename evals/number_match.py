"""number_match: whether the last number of an output is the last number of a reference."""

from __future__ import annotations

import re
from collections import deque
from decimal import Decimal

from evals.arrays import Floats
from evals.rows import Rows

_SEPARATORS = ",，'’_\u00a0\u2009\u202f"
# A number is digits, or groups of them that separators part (12,345.6; 1,00,000); then a fraction
# and a short exponent. A hyphen after a letter, digit or bracket is no sign.
_GROUPED = rf"\d{{1,3}}(?:[{_SEPARATORS}]\d{{2,3}})+(?!\d)"
_NUMBER = re.compile(
    rf"(?:(?<![\w.)])[-－−+＋])?(?:{_GROUPED}|\d+|(?<!\d)(?=[.．]\d))"
    r"(?:[.．]\d+)?(?:[eE][-+]?\d{1,3}(?![\w.]))?"
)
# What a number may be a part of: quickly found.
_RUN = re.compile(rf"\d[\d.．{_SEPARATORS}]*(?:[eE][-+]?\d+)?")
_BEFORE = 2  # characters of a number before its first digit: a sign, a point
_PLAIN = str.maketrans({"−": "-", "－": "-", "＋": "+", "．": "."} | dict.fromkeys(_SEPARATORS))


def last_number(text: str) -> Decimal | None:
    """None if there is no number. Digits may be those of any script."""
    runs = deque(_RUN.finditer(text), maxlen=1)
    if not runs:
        return None
    begin, end = max(0, runs[0].start() - _BEFORE), runs[0].end() + 1
    (found,) = deque(_NUMBER.finditer(text, begin, end), maxlen=1)
    return Decimal(found[0].translate(_PLAIN))


def measure(rows: Rows) -> Floats:
    """NaN where no reference has a number."""

    def of_row(row: int) -> float | None:
        wanted = [number for number in map(last_number, rows.references[row]) if number is not None]
        return float(last_number(rows.outputs[row].text) in wanted) if wanted else None

    return rows.numbers(of_row)
