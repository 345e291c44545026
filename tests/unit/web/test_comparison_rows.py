"""What of a comparison is computed without a store: stretches of items, settings that differ."""

from __future__ import annotations

import random

import pytest

from web.jobs.comparison_rows import _runs
from web.jobs.comparison_settings import differing


@pytest.mark.parametrize("seed", range(10))
def test_stretches_hold_every_item_and_are_short_enough(seed: int) -> None:
    draw = random.Random(seed)
    indices = sorted(draw.sample(range(500), draw.randint(0, 80)))
    for gap, most in ((1, 7), (40, 60), (500, 500)):
        runs = list(_runs(indices, gap, most))
        read = [index for first, count in runs for index in range(first, first + count)]
        assert set(indices) <= set(read)
        assert read == sorted(set(read))
        assert all(count <= most for _, count in runs)
        assert gap > 1 or read == indices


def test_settings_that_all_have_alike_are_left_out() -> None:
    found = differing([{"a": 1, "b": [2], "c": None}, {"a": 1, "b": [2], "d": 4}, {"a": 2}])
    assert [tuple(each) for each in found] == [
        ("a", [1, 1, 2]),
        ("b", [[2], [2], None]),
        ("d", [None, 4, None]),
    ]
