"""How the rows of a step are grouped, and that it changes nothing."""

from __future__ import annotations

import psutil
import pytest
import torch

from tests.unit.engine.test_native import mixed
from tests.unit.engine.tiny import assert_same, build, run, running, tokens
from worker.engine import kv


def lengths(*each: int) -> list[list[int]]:
    """The lengths of the groups that rows of these lengths fall into."""
    return [[row[0] for row in group] for group in kv._split([(length, 0, []) for length in sorted(each)])]


def test_few_short_rows_stay_together_whatever_they_waste() -> None:
    assert lengths(10, 500) == [[10, 500]]
    assert lengths(*[40] * 20, 90) == [[40] * 20 + [90]]


def test_a_long_row_does_not_make_many_short_ones_read_as_much() -> None:
    assert lengths(*[40] * 20, 4000) == [[40] * 20, [4000]]
    assert lengths(10, 2000) == [[10], [2000]]


def test_rows_of_like_lengths_stay_together_however_many() -> None:
    assert lengths(*range(300, 400)) == [list(range(300, 400))]


def test_room_for_keys_and_values_is_taken_as_it_is_used() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    caches = kv.allocate({0: kv.LayerShape(4, 64, 64)}, 8192, 64, torch.bfloat16, torch.device("cpu"))  # 512 MiB
    assert process.memory_info().rss - before < 50 << 20
    assert not caches[0].keys[100].any() and not caches[0].values[-1].any()


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt_oss"])
def test_rows_say_the_same_in_groups_of_their_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, requests = build(family), mixed()
    with running(model) as engine:
        together = run(engine, requests)
    monkeypatch.setattr(kv, "PADDED_TOKENS", 0)
    groups = []
    split = kv._split
    monkeypatch.setattr(kv, "_split", lambda rows: groups.append(split(rows)) or groups[-1])
    with running(model) as engine:
        apart = run(engine, requests)
    assert max(map(len, groups)) > 1
    for request in requests:
        assert_same(model, request, tokens(apart[request.id]), tokens(together[request.id]))
