"""Metrics of an output by itself: its length, whether it is JSON, how varied its words are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from evals.arrays import Floats
from evals.item import Output
from evals.rows import Rows

REPEATED = 4  # words of what counts as repeated


def measure_length_tokens(rows: Rows) -> Floats:
    return rows.numbers(lambda row: rows.outputs[row].token_count)


def measure_length_chars(rows: Rows) -> Floats:
    return rows.numbers(lambda row: len(rows.outputs[row].text))


def measure_json_valid(rows: Rows) -> Floats:
    return rows.numbers(lambda row: float(is_json(rows.outputs[row])))


def measure_distinct(order: int) -> Callable[[Rows], Floats]:
    """Different n-grams of words by all of them (Li and others, 2016). NaN without any."""

    def measure(rows: Rows) -> Floats:
        totals = rows.word_ngrams.totals(order)[:, 0]
        distinct = rows.word_ngrams.shared(order).distinct
        share = np.full(len(rows), np.nan)
        np.divide(distinct, totals, out=share, where=totals > 0)
        return share[:, None]

    return measure


def measure_repetition(rows: Rows) -> Floats:
    """The share of runs of four words that were there before (Welleck and others, 2020)."""
    return 1 - measure_distinct(REPEATED)(rows)


def is_json(output: Output) -> bool:
    """Whether the whole text is JSON, as RFC 8259 has it. What nests too deeply to be read is
    not."""
    if output.json_valid is not None:
        return output.json_valid
    try:
        json.loads(output.text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
