"""Completion windows: the time that a batch may take, written like `24h` or `1h30m`."""

from __future__ import annotations

import re
from typing import Any

from common.given import refuse
from web.schemas.base import LONGEST_DEADLINE

WINDOW = re.compile(r"(?=\d)(?:(\d{1,5})h)?(?:(\d{1,6})m)?", re.ASCII)
PATTERN = r"^(?=[0-9])([0-9]{1,5}h)?([0-9]{1,6}m)?$"  # the same for a JSON Schema


def seconds(window: str) -> int:
    """The seconds of a valid window; 0 for another text."""
    found = WINDOW.fullmatch(window)
    if found is None:
        return 0
    hours, minutes = found.groups("0")
    return int(hours) * 3600 + int(minutes) * 60


def check(window: Any) -> Any:
    """Validates a window: hours, minutes or both."""
    if isinstance(window, str) and not 0 < seconds(window) <= LONGEST_DEADLINE:
        raise refuse(
            "must be hours, minutes or both, like 24h, 90m or 1h30m, above zero and at most a year"
        )
    return window
