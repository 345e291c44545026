"""Numbers in schemas: what llguidance, which computes in floating point, can hold exactly."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

LARGEST = 2**63 - 1024  # the largest floating-point number that is a 64-bit integer
MOST_DIGITS = 9  # after the point of a multipleOf
NEXT = 1e-9  # from an exclusive bound to the next number that is written, at most


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
    """A schema with one bound on each side. llguidance takes an exclusive whole bound on the side
    of zero for inclusive where the other one is less than 1 away: those become inclusive. Beside
    `multipleOf` there are bounds within which floating point can tell multiples from other
    numbers: 10^15 without the point."""
    found = {name: value or 0 if name in BOUNDS else value for name, value in schema.items()}
    if "multipleOf" in schema:
        exponent = Decimal(repr(schema["multipleOf"])).normalize().as_tuple().exponent
        most = 10 ** (15 + min(0, int(exponent)))
        found["minimum"] = max(found.get("minimum", -most), -most)
        found["maximum"] = min(found.get("maximum", most), most)
    if found.get("exclusiveMinimum", -math.inf) >= found.get("minimum", math.inf):
        del found["minimum"]
    if found.get("exclusiveMaximum", math.inf) <= found.get("maximum", -math.inf):
        del found["maximum"]
    low = found.get("minimum", found.get("exclusiveMinimum", -math.inf))
    high = found.get("maximum", found.get("exclusiveMaximum", math.inf))
    if 0 < high - low <= 1:
        step = min(NEXT, (high - low) / 2)
        if found.get("exclusiveMinimum", -1) >= 0:
            found["minimum"] = _beyond(found.pop("exclusiveMinimum"), step, math.inf)
        if found.get("exclusiveMaximum", 1) <= 0:
            found["maximum"] = _beyond(found.pop("exclusiveMaximum"), step, -math.inf)
    return found


def _beyond(bound: float, step: float, side: float) -> float:
    """The next number on this side of a bound that may be written."""
    near = float(Decimal(repr(bound)) + Decimal(repr(math.copysign(step, side))))
    return near if near != bound else math.nextafter(bound, side)


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
