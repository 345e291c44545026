"""Numbers in schemas: what llguidance, which computes in floating point, can hold exactly."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

LARGEST = 2**63 - 1024  # the largest floating-point number that is a 64-bit integer
MOST_DIGITS = 9  # after the point of a multipleOf


class BadNumber(ValueError):
    """The number cannot be used; the message says why."""


def exact(value: float) -> bool:
    """Whether a constant is written as it was given."""
    return -(2**63) <= value < 2**64 if isinstance(value, int) else math.isfinite(value)


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


def within_precision(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with `multipleOf`, with bounds within which floating point can tell multiples from
    other numbers: 10^15 without the point."""
    exponent = Decimal(repr(schema["multipleOf"])).normalize().as_tuple().exponent
    most = 10 ** (15 + min(0, int(exponent)))
    return {
        **schema,
        "minimum": max(schema.get("minimum", -most), -most),
        "maximum": min(schema.get("maximum", most), most),
    }
