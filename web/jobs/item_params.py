"""Parameters of a rerun that some of the job's items cannot have: those whose texts are scored. The
other items get them as their own. Pure: knows the items as drafts have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.store.job_prep import JobPrep
from common.types import JsonObject
from web.intake.scores import CHOSEN_BY, SCORED_BY


@dataclass(frozen=True)
class ItemParams:
    """Parameters by name, as JSON. `output` is the format of items that have none of their own."""

    params: Mapping[str, Any]
    output: JsonObject | None

    def of(self, value: JsonObject) -> JsonObject:
        """Those that mean something to an item, below its own."""
        allowed = self._allowed(value)
        return {name: v for name, v in self.params.items() if allowed is None or name in allowed}

    def _allowed(self, value: JsonObject) -> set[str] | None:
        """None for an item that generates text, which may have all."""
        if "continuations" in value:
            return SCORED_BY
        output = value.get("params", {}).get("output", self.params.get("output", self.output))
        return CHOSEN_BY if output and output.get("probabilities") else None


def kept_apart(prep: JobPrep, names: set[str]) -> set[str]:
    """Of these parameters, those that some items of a job cannot have."""
    found: set[str] = set()
    if "continuations" in prep:
        found |= names - SCORED_BY
    if "choices" in prep:
        found |= names - CHOSEN_BY
    return found
