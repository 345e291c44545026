"""What one check of `promptmill doctor` found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fix` says what to do if it is not good."""

    what: str
    good: bool
    fix: str = ""
