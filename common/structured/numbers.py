"""Numbers in schemas: what llguidance, which computes in floating point, can hold exactly."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

LARGEST = 2**63 - 1024  # the largest floating-point number that is a 64-bit integer
MOST_DIGITS = 9  # after the point of a multipleOf
NEXT = 1e-9  # from an exclusive bound to the next number that is written


class BadNumber(ValueError):
    """The number cannot be used; the message says why."""


def exact(value: float) -> bool:
    """Whether a constant is written as it was given."""
    return abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value)


def bounded(keyword: str, value: float) -> float:
    """A bound that can be held exactly, the same or tighter.

    Raises:
        BadNumber: no text could be within it.
    """
    upper = keyword in ("maximum", "exclusiveMaximum")
    if (value < -LARGEST) if upper else (value > LARGEST):
        raise BadNumber(f"is beyond {LARGEST:,}, which is not supported")
    value = max(-LARGEST, min(LARGEST, value))
    near = float(value)
    if near != value and (near > value) == upper:
        near = math.nextafter(near, -math.inf if upper else math.inf)
    return value if near == value else near


def multiple(value: float) -> int:
    """A `multipleOf` without its point: 25 for 0.25.

    Raises:
        BadNumber: it is no positive number, or has too many digits.
    """
    if not (math.isfinite(value) and value > 0):
        raise BadNumber("must be above 0")
    number = Decimal(repr(value)).normalize()
    places = max(0, -int(number.as_tuple().exponent))
    if places > MOST_DIGITS:
        raise BadNumber(f"has more than {MOST_DIGITS} digits after the point")
    return int(number.scaleb(places))


def settled(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with one bound on each side, which is inclusive: llguidance takes an exclusive bound
    for inclusive where the other is less than 1 away. Beside `multipleOf` there are bounds within
    which floating point can tell multiples from other numbers: 10^15 without the point."""
    found = {name: value for name, value in schema.items() if name not in BOUNDS}
    lower, upper = [], []
    if "minimum" in schema:
        lower.append(schema["minimum"])
    if "maximum" in schema:
        upper.append(schema["maximum"])
    if "exclusiveMinimum" in schema:
        lower.append(_beyond(schema["exclusiveMinimum"], math.inf))
    if "exclusiveMaximum" in schema:
        upper.append(_beyond(schema["exclusiveMaximum"], -math.inf))
    if "multipleOf" in schema:
        exponent = Decimal(repr(schema["multipleOf"])).normalize().as_tuple().exponent
        most = 10 ** (15 + min(0, int(exponent)))
        lower.append(-most)
        upper.append(most)
    if lower:
        found["minimum"] = max(lower) or 0  # not -0.0
    if upper:
        found["maximum"] = min(upper) or 0
    return found


def _beyond(bound: float, side: float) -> float:
    step = math.copysign(NEXT, side)
    near = float(Decimal(repr(bound)) + Decimal(repr(step)))
    return near if near != bound else math.nextafter(bound, side)


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
