"""Which side an output is shown on, in a study of pairs."""

from __future__ import annotations

from evals.seeds import generator


def swapped(study: str, rater: str, position: int) -> bool:
    """Whether the pair at this position of a rater's own order is shown with its sides changed.

    The first is so by chance; from then on it changes with every row, so that each job is as often
    left as right.
    """
    first = bool(generator(study, rater).integers(2))
    return first != bool(position % 2)
