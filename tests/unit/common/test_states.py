"""The drawing in docs/states.md and the states in code are the same."""

from __future__ import annotations

import re
from pathlib import Path

from common.types import MOVES, ItemState, JobState

PAGE = (Path(__file__).parents[3] / "docs" / "states.md").read_text()


def test_the_drawing_has_every_move_and_no_other() -> None:
    drawn = {}
    for letter, start, ends in re.findall(r"^ +\((\w)\).*?(\w+)? +→ +([a-z |]+)", PAGE, re.M):
        begin = None if start == "attach" else ItemState(start)
        drawn[letter] = (begin, frozenset(map(ItemState, ends.strip().split(" | "))))
    assert drawn == MOVES


def test_every_state_of_an_item_is_explained_with_its_byte() -> None:
    assert re.findall(r"^\| (\w+) \| (\w) \|", PAGE, re.M) == [
        (state.value, state.byte) for state in ItemState
    ]


def test_every_state_of_a_job_is_drawn_and_every_end_explained() -> None:
    (line,) = re.findall(r"^ +attach → (.*)$", PAGE, re.M)
    assert set(re.findall(r"[a-z]+", re.sub(r"\(.*?\)", "", line))) == {
        state.value for state in JobState
    }
    ends = re.findall(
        r"^\| (\w+) \| [a-z ]", PAGE.partition("## Jobs")[2].partition("\n## ")[0], re.M
    )[1:]
    assert set(ends) == {state.value for state in JobState if state.terminal}
