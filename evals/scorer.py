"""Scores items: each metric's numbers and score, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evals.arrays import Floats, Ints
from evals.item import Item, Output
from evals.metric import Metric
from evals.rows import Rows

# How much is scored at once, so that memory does not depend on how many items there are.
BATCH_ROWS = 256
BATCH_CHARACTERS = 1 << 18

Piece = tuple[int, Output, tuple[str, ...]]  # the item's place, one of its outputs, references


@dataclass(frozen=True)
class Scores:
    """Of items in their order, by metric: `numbers[name]` is an array of items by columns, and
    `values[name]` their scores. NaN where there is none.

    An item with several outputs has the means of their numbers and of their scores.
    """

    numbers: dict[str, Floats]
    values: dict[str, Floats]


def score_items(items: Sequence[Item], metrics: Sequence[Metric], tokenizer: str) -> Scores:
    """`tokenizer` is BLEU's, one of `bleu_words.TOKENIZERS`."""
    numbers: dict[str, list[Floats]] = {metric.name: [] for metric in metrics}
    values: dict[str, list[Floats]] = {metric.name: [] for metric in metrics}
    places: list[int] = []
    for batch in _batches(items):
        rows = Rows([output for _, output, _ in batch], [texts for *_, texts in batch], tokenizer)
        places += [place for place, *_ in batch]
        for metric in metrics:
            found = metric.measure(rows)
            numbers[metric.name].append(found)
            values[metric.name].append(metric.of_rows(found)[:, None])
    owner = np.array(places, np.int64)
    return Scores(
        {m.name: _means(numbers[m.name], owner, len(items), len(m.columns)) for m in metrics},
        {m.name: _means(values[m.name], owner, len(items), 1)[:, 0] for m in metrics},
    )


def _batches(items: Sequence[Item]) -> Iterator[list[Piece]]:
    """Outputs with their references; one with more characters than a batch may have is alone."""
    batch: list[Piece] = []
    characters = 0
    for place, item in enumerate(items):
        references = item.comparable
        theirs = sum(map(len, references))
        for output in item.outputs:
            size = len(output.text) + theirs
            if batch and (len(batch) == BATCH_ROWS or characters + size > BATCH_CHARACTERS):
                yield batch
                batch, characters = [], 0
            batch.append((place, output, references))
            characters += size
    if batch:
        yield batch


def _means(found: list[Floats], owner: Ints, count: int, width: int) -> Floats:
    """The mean of an item's rows, without those that are NaN; NaN if there is no other."""
    rows = np.concatenate(found) if found else np.empty((0, width))
    told = ~np.isnan(rows).any(axis=1)
    sums = np.zeros((count, width))
    np.add.at(sums, owner[told], rows[told])
    counts = np.bincount(owner[told], minlength=count)[:, None]
    return np.divide(sums, counts, out=np.full((count, width), np.nan), where=counts > 0)
