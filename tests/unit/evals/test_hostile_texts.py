"""The longest texts that items may have are scored in bounded time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import numpy as np
import pytest

from evals.item import Item, Output
from evals.lcs import Budget, lcs_length
from evals.registry import METRICS
from tests.support.judged import scores

OUTPUT, REFERENCE = 1 << 20, 1 << 16  # bytes
SECONDS = 20.0  # of processor time; one to three are needed

TEXTS = {
    "two words": ("a b ", "b a a "),
    "full stops": (".", ". "),
    "Chinese": ("客户写信说订单晚到了", "了到晚单订说信写户客"),
    "marks": ("e\u0301\u0302", "\u0301"),
}


@pytest.mark.parametrize(("ours", "theirs"), TEXTS.values(), ids=TEXTS.keys())
def test_a_megabyte_against_sixteen_references(ours: str, theirs: str) -> None:
    output = ours * (OUTPUT // len(ours.encode()))
    reference = theirs * (REFERENCE // len(theirs.encode()))
    item = Item((Output(output, 9, -1.0),), tuple(f"{place} {reference}" for place in range(16)))
    began = time.process_time()
    found = scores([item], *METRICS)
    assert time.process_time() - began < SECONDS
    nulls = {name for name, value in found.values.items() if np.isnan(value[0])}
    # ROUGE-L gives up rather than take longer; the others where there is no word, or one.
    assert nulls <= {"rouge_l", "distinct_1", "distinct_2", "repetition"}


def test_many_different_words_take_bounded_memory() -> None:
    """A number of as many bits as there are words, for every word, would be two gigabytes."""
    draw = random.Random(1)
    first = [0 if draw.random() < 0.02 else word for word in range(100_000)]
    second = draw.sample(first, len(first))
    tracemalloc.start()
    try:
        length = lcs_length(first, second, Budget(1 << 23))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length
    assert most < 100e6
