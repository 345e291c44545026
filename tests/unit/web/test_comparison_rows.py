"""What of a comparison is computed without a store: stretches of items, settings that differ."""

from __future__ import annotations

import random

import pytest

from web.jobs.comparison_rows import _runs
from web.jobs.comparison_settings import differing


@pytest.mark.parametrize("seed", range(10))
def test_stretches_hold_every_item_and_no_other_and_are_short_enough(seed: int) -> None:
    draw = random.Random(seed)
    indices = sorted(draw.sample(range(500), draw.randint(0, 80)))
    for most in (1, 7, 500):
        runs = list(_runs(indices, most))
        assert [index for first, count in runs for index in range(first, first + count)] == indices
        assert all(count <= most for _, count in runs)


def test_settings_that_all_have_alike_are_left_out() -> None:
    found = differing([{"a": 1, "b": [2], "c": None}, {"a": 1, "b": [2], "d": 4}, {"a": 2}])
    assert [tuple(each) for each in found] == [
        ("a", [1, 1, 2]),
        ("b", [[2], [2], None]),
        ("d", [None, 4, None]),
    ]
