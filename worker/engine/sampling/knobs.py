"""The settings of a step's rows that decide how their tokens are drawn, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.params import SamplingParams


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings of all rows, as arrays (rows,) float64."""

    temperature: np.ndarray  # 0 is greedy
    top_k: np.ndarray
    top_p: np.ndarray
    min_p: np.ndarray
    typical_p: np.ndarray

    @classmethod
    def of(cls, params: list[SamplingParams]) -> Knobs:
        rows = [
            (0.0 if p.is_greedy else p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p)
            for p in params
        ]
        return cls(*np.array(rows, dtype=np.float64).T)

    def limits_k(self, vocabulary: int) -> np.ndarray:
        """(rows,) whether top_k drops anything."""
        limits: np.ndarray = (self.top_k > 0) & (self.top_k < vocabulary)
        return limits
