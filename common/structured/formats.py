"""The formats of strings in schemas (`"format": "date"`): which are honoured, and how.

llguidance's own expressions allow 29 February in every year, seconds of 60 at any time, and parts
of addresses longer than they may be. Those have expressions of ours here; the others are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

# Years that 4 divides, but of those that 100 divides only those that 400 divides.
_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # many calendars have no year 0
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_OFFSET = "(?:Z|[+\\-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_TIME = f"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{{1,9}})?{_OFFSET}"
_LABEL = "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}"
_HOST = f"{_LABEL}(?:\\.{_LABEL}){{0,3}}"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?\\^_`{|}~\\-]"


@dataclass(frozen=True)
class Format:
    """`pattern` matches whole strings of the format; None leaves it to llguidance. `least` are the
    characters of the shortest."""

    least: int
    pattern: str | None = None


FORMATS = {
    "date": Format(10, _DATE),
    "time": Format(9, _TIME),
    "date-time": Format(20, f"{_DATE}T{_TIME}"),
    "duration": Format(3),
    "email": Format(3, f"{_ATOM}{{1,16}}(?:\\.{_ATOM}{{1,15}}){{0,3}}@{_HOST}"),
    "hostname": Format(1, _HOST),
    "ipv4": Format(7),
    "ipv6": Format(2),
    "uuid": Format(36),
    "uri": Format(2),
}
