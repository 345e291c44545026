"""The table in docs/api.md of what the engines have, and what it must say of one."""

from __future__ import annotations

import re
from pathlib import Path

from common.params import CELLS, SamplingParams
from worker.engine.protocol import EngineThread
from worker.model_features import OF_ENGINE

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BY_MODEL = ("structured_output", "thinking")  # features of a model, on engines with tokens
FEATURES = (*BY_MODEL, *dict.fromkeys(name for found in OF_ENGINE.values() for name in found))


def written() -> dict[str, dict[str, str]]:
    """The table's cells, by engine and row."""
    section = PAGE.read_text().partition("\n## What models have\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    table = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    assert re.fullmatch(r"[|-]+", lines[1])
    return {
        engine: {row[0]: row[place] for row in table[2:]}
        for place, engine in enumerate(table[0])
        if engine
    }


def expected(engine: str, kind: type[EngineThread]) -> dict[str, str]:
    """The cells of an engine, in order."""
    found = {name: "yes" if name in kind.honours else "no" for name in CELLS}
    found |= {name: "yes" if name in OF_ENGINE[engine] else "no" for name in FEATURES}
    return found | dict.fromkeys(BY_MODEL, "no" if engine == "echo" else "by model")


def resumes_seeded_rows(kind: type[EngineThread]) -> bool:
    """What the engine says when a row with a seed is given back to it."""
    seeded = SamplingParams.model_validate({"seed": 7, "temperature": 0.8})
    return kind.goes_on(kind.__new__(kind), seeded)
