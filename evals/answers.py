"""Metrics of short answers: token_f1 and exact_match as SQuAD defines them, and contains.

Each takes the best of several references (Rajpurkar and others, 2016 and 2018).
"""

from __future__ import annotations

import numpy as np

from evals.arrays import Floats
from evals.ngrams import Ngrams
from evals.rows import Rows


def measure_token_f1(rows: Rows) -> Floats:
    ngrams = Ngrams.of_words(rows.answers, 1)
    both = ngrams.lengths[:, :1] + ngrams.lengths[:, 1:]
    f1 = 2.0 * ngrams.shared(1).matches / np.maximum(both, 1)
    best = np.max(np.nan_to_num(rows.existing(f1), nan=-1.0), axis=1, initial=-1.0)
    return np.where(best < 0, np.nan, best)[:, None]


def measure_exact_match(rows: Rows) -> Floats:
    def of_row(row: int) -> float | None:
        output, *references = rows.answers[row]
        return float(output in references) if references else None

    return rows.numbers(of_row)


def measure_contains(rows: Rows) -> Floats:
    """Whether the words of a reference stand one after the other in the output."""

    def of_row(row: int) -> float | None:
        output, *references = map(_phrase, rows.answers[row])
        return float(any(text in output for text in references)) if references else None

    return rows.numbers(of_row)


def _phrase(words: list[int]) -> str:
    """Words with a space before and after each, so that only whole ones are found."""
    return " ".join(["", *map(str, words), ""])
