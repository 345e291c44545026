"""What a metric is: the numbers that it makes of an output, and how these become a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evals.arrays import Floats
from evals.rows import Rows

Need = Literal["references", "token_counts", "logprobs"]


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    `measure` makes of a batch an array of rows by `columns`, a row of NaN where there is nothing to
    tell. `score` makes a score of such numbers along the last axis: of one output, or of the sums
    over a job. Sums that are no ratio of their own are divided by their number first (`mean`).
    `alone` scores one output, where that is done otherwise; such scores have a name of their own,
    `alone_name`.

    `better` is the direction in which a score improves, None where neither is. `low` and `high` are
    the least and greatest score, None without a limit. The scores of a `binary` metric are 0 or 1.
    """

    name: str
    meaning: str
    columns: tuple[str, ...]
    measure: Callable[[Rows], Floats]
    score: Callable[[Floats], Floats]
    needs: Need | None = None
    better: Literal["higher", "lower"] | None = "higher"
    low: float | None = 0.0
    high: float | None = 1.0
    mean: bool = True
    binary: bool = False
    alone: Callable[[Floats], Floats] | None = None
    alone_name: str | None = None
    signature: Callable[[str, str], str] | None = None

    @property
    def row_name(self) -> str:
        """What the score of a single item is called."""
        return self.alone_name or self.name

    def total(self, sums: Floats, count: Floats | float) -> Floats:
        """The score of numbers that were added up over `count` items."""
        return self.score(sums / count if self.mean else sums)

    def of_rows(self, numbers: Floats) -> Floats:
        """The score of each row by itself."""
        return (self.alone or self.score)(numbers)


def itself(numbers: Floats) -> Floats:
    """The score of a metric with one number that is its score."""
    return numbers[..., 0]
