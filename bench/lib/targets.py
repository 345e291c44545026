"""What the figures of a bench's last line have to reach, and which of them do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A figure by its path in the line (`ratio.vllm`) and its limit; `at_least` or `at_most`, of
    which one is set."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f"<= {self.at_most}" if self.at_least is None else f">= {self.at_least}"

    def value(self, line: dict[str, Any]) -> float | None:
        """The figure in `line`; None where it was not measured."""
        found: Any = line
        for key in self.figure.split("."):
            found = found[key]
        return None if found is None else float(found)

    def holds(self, value: float) -> bool:
        """NaN reaches nothing."""
        least = -math.inf if self.at_least is None else self.at_least
        most = math.inf if self.at_most is None else self.at_most
        return least <= value <= most


ENGINE = (
    Target("ratio.vllm", at_least=1.2),
    Target("ratio.vllm_128", at_least=1.2),
    Target("ratio.shared_vllm_prefix_cache", at_least=1.2),
    Target("ratio.shared_vllm", at_least=2.5),
    Target("ratio.single_vllm", at_least=2.0),
    Target("ratio.static", at_least=2.4),
    Target("ratio.transformers_cb", at_least=5.0),
    Target("ratio.int8_over_bf16", at_least=1.3),
    Target("ratio.int8_over_bf16_128", at_least=1.4),
    Target("useful_flops_fraction", at_least=0.6),
    Target("useful_flops_fraction_128", at_least=0.65),
    Target("prefill_flops_fraction", at_least=0.75),
    Target("single_row_bandwidth_fraction", at_least=0.6),
    Target("step_outside_ms", at_most=4.0),
    Target("mixed_settings_cost", at_most=0.06),
    Target("structured_cost", at_most=0.05),
    Target("structured_cost_drawn", at_most=0.05),
    Target("first_token_ms.new", at_most=30.0),
    Target("first_token_ms.cached", at_most=2.0),
)
VLLM = (
    Target("ratio.promptmill_vllm_32", at_least=0.95),
    Target("ratio.promptmill_vllm_128", at_least=0.95),
)
PERPLEXITY = (Target("ratio.int8_over_bf16.all.value", at_most=1.015),)


def verdict(targets: tuple[Target, ...], line: dict[str, Any]) -> dict[str, list[Any]]:
    """The fields `missed`, each with its figure and its target, and `not_measured`."""
    missed, absent = [], []
    for target in targets:
        value = target.value(line)
        if value is None:
            absent.append(target.figure)
        elif not target.holds(value):
            missed.append({"figure": target.figure, "measured": value, "target": str(target)})
    return {"missed": missed, "not_measured": absent}
