"""Contestants take turns, so that a noisy minute hits all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from bench.lib.mixes import Mix, Texts

M = TypeVar("M", Mix, Texts)


@dataclass(frozen=True)
class Contestant(Generic[M]):
    """Something that generates; `run` gives the seconds it took for a mix."""

    run: Callable[[M], float]
    mix: M


def take_turns(
    contestants: dict[str, Contestant[M]],
    repeats: int,
    *,
    each_round: Callable[[], None] = lambda: None,
    each_turn: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The median of what `rounds` gives for each contestant."""
    times = rounds(contestants, repeats, each_round=each_round, each_turn=each_turn)
    return {name: median(taken) for name, taken in times.items()}


def rounds(
    contestants: dict[str, Contestant[M]],
    repeats: int,
    *,
    each_round: Callable[[], None] = lambda: None,
    each_turn: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """The seconds of each contestant in so many rounds, after one with prompts as long and few new
    tokens. Every other round is in reverse order, because a machine may become slower all the time.
    `each_round` and `each_turn` are called before every one."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        each_round()
        for name, each in list(contestants.items())[:: -1 if repeat % 2 else 1]:
            each_turn()
            seconds = each.run(each.mix if repeat else each.mix.warming())
            if repeat:
                times[name].append(seconds)
            print(f"{repeat}/{repeats} {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return times
