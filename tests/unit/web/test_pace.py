"""When a job will be over: true of simulated runs of many kinds."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from web.jobs.pace import Ended, remaining

Length = Callable[[random.Random, int], float]  # of an item of this index, in seconds
LENGTHS: dict[str, Length] = {
    "equal": lambda _, __: 1.0,
    "nearly equal": lambda dice, _: dice.uniform(0.9, 1.1),
    "long and short": lambda dice, _: dice.choice([0.2, 3.0]),
    "lognormal": lambda dice, _: dice.lognormvariate(0, 0.8),
    "longer and longer": lambda dice, index: (1 + index / 400) * dice.uniform(0.5, 1.5),
}
RUNS = 20  # of which 18 have to be right


def simulate(dice: random.Random, length: Length, items: int, slots: int) -> list[Ended]:
    """All items as they end, `slots` at a time."""
    busy: list[float] = []
    ended = []
    for index in range(items):
        start = heapq.heappop(busy) if len(busy) == slots else 0.0
        ran = length(dice, index)
        heapq.heappush(busy, start + ran)
        ended.append(Ended(start + ran, ran, 10))
    return sorted(ended, key=lambda each: each.at)


def estimate_is_true(dice: random.Random, length: Length) -> bool:
    slots = dice.choice([1, 4, 16, 32])
    items = dice.randint(30 + 6 * slots, 400 + 6 * slots)
    ended = simulate(dice, length, items, slots)
    now = ended[-1].at * dice.uniform(0.2, 0.8)
    over = [each for each in ended if each.at <= now]
    running = min(slots, items - len(over))
    count = max(64, 4 * running)
    last = over[-count:] if len(over) > count else [Ended(0.0, 0.0, 0), *over]
    found = remaining(last, items - len(over) - running, running, now)
    assert found is not None
    assert found.high / found.low <= 4
    return found.low <= ended[-1].at - now <= found.high


@pytest.mark.parametrize("kind", LENGTHS)
def test_the_truth_is_within_the_range_in_18_of_20_runs(kind: str) -> None:
    dice = random.Random(kind)
    hundreds = [sum(estimate_is_true(dice, LENGTHS[kind]) for _ in range(RUNS)) for _ in range(20)]
    assert sum(hundreds) / len(hundreds) >= 18, hundreds


def test_nothing_is_said_before_something_ended() -> None:
    assert remaining([Ended(1.0, 1.0, 5)], 10, 2, 1.0) is None
    assert remaining([Ended(float(at), 1.0, 5) for at in range(9)], 0, 0, 9.0) is None


def test_the_more_is_left_the_longer_it_takes() -> None:
    ended = [Ended(float(at), 1.0, 5) for at in range(64)]
    some, more = (remaining(ended, pending, 1, 63.0) for pending in (10, 100))
    assert some and more and more.low > some.low and more.high > some.high


def test_a_job_of_which_nothing_ends_any_more_takes_longer_and_longer() -> None:
    ended = [Ended(float(at), 1.0, 5) for at in range(64)]
    now, later = (remaining(ended, 50, 1, at) for at in (63.0, 200.0))
    assert now and later and later.low > now.high
