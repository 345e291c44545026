"""docs/performance.md lists the targets that the engine's bench compares its figures with."""

from __future__ import annotations

import re
from pathlib import Path

from bench.lib.targets import ENGINE

PAGE = Path("docs/performance.md")


def test_the_page_has_the_targets_of_the_code() -> None:
    found: dict[str, tuple[str, float]] = {}
    table = PAGE.read_text(encoding="utf-8").partition("| figure | target |\n|---|---|\n")[2]
    for row in table.partition("\n\n")[0].splitlines():
        _, figures, targets, *_ = row.split("|")
        names = re.findall(r"`([^`]+)`", figures)
        limits = re.findall(r"([≥≤]) ([\d.]+)", targets)
        found |= {
            name: (sign, float(limit)) for name, (sign, limit) in zip(names, limits, strict=True)
        }
    assert found == {
        each.figure: ("≤", each.at_most) if each.at_least is None else ("≥", each.at_least)
        for each in ENGINE
    }
