"""How the rows of a step are grouped; the grouping changes no output."""

from __future__ import annotations

import itertools
import random
from typing import Any

import psutil
import pytest
import torch

from tests.unit.engine.tiny import ask, assert_same, build, mixed, prompts, run, running, tokens
from worker.engine.attention import grouping
from worker.engine.attention.backend import LayerShape, Row, lay_out
from worker.engine.attention.gather import Gather


def single(*lengths: int, lead: tuple[int, ...] = ()) -> list[Row]:
    """Rows of these lengths in blocks of 16, which begin with those of `lead` and have the others
    for themselves."""
    fresh = itertools.count(1000 * (1 + len(lead) + sum(lead)))
    return [
        Row(place, length - 1, 1, [*lead, *itertools.islice(fresh, -(-length // 16) - len(lead))])
        for place, length in enumerate(lengths)
    ]


def groups(*lengths: int) -> list[list[int]]:
    """The lengths of the groups that rows of these lengths fall into."""
    return [[row.total for row in group] for group in grouping.split(single(*lengths), 0, 16)]


def cost(groups: list[list[Row]]) -> float:
    return sum(
        grouping.GROUP_TOKENS
        + len(group)
        * max(-(-row.total // 16) for row in group)
        * 16
        * (1 + (max(row.count for row in group) - 1) / grouping.QUERIES)
        for group in groups
    )


def test_few_short_rows_stay_together_whatever_they_waste() -> None:
    assert groups(10, 500) == [[10, 500]]
    assert groups(*[40] * 20, 90) == [[40] * 20 + [90]]


def test_a_long_row_does_not_make_many_short_ones_read_as_much() -> None:
    assert groups(*[40] * 20, 4000) == [[40] * 20, [4000]]
    assert groups(10, 2000) == [[10], [2000]]


def test_rows_of_like_lengths_stay_together_however_many() -> None:
    lengths = [*range(305, 321)] * 20  # all in 20 blocks
    assert [sorted(group) for group in groups(*lengths)] == [sorted(lengths)]


@pytest.mark.parametrize("counts", [[1], [2, 20, 90]], ids=["tokens", "chunks"])
def test_no_other_cut_costs_less(counts: list[int]) -> None:
    rng = random.Random(1)
    for _ in range(20):
        shapes = [(rng.choice([100, 400, 900, 2500]), rng.choice(counts)) for _ in range(9)]
        rows = [Row(0, total - count, count, []) for total, count in sorted(shapes)]
        cuts = itertools.chain.from_iterable(
            itertools.combinations(range(1, 9), count) for count in range(9)
        )
        others = [[rows[a:b] for a, b in itertools.pairwise((0, *cut, 9))] for cut in cuts]
        assert cost(grouping.split(rows, 0, 16)) == pytest.approx(min(map(cost, others)))


def test_chunks_after_a_long_common_prefix_do_not_read_it_all_at_once() -> None:
    prefix = list(range(2, 502))  # 8,000 tokens
    rows = [([*prefix, 600 + number], 8000) for number in range(40)]
    cpu = torch.device("cpu")
    backend = Gather(
        {0: LayerShape(1, 8, 8)}, blocks=700, size=16, dtype=torch.bfloat16, device=cpu
    )
    step = backend.begin(lay_out([[0] * 10] * 40, rows, [], size=16, device=cpu))
    assert [len(group.table) for group in step.groups] == [2] * 20 and not step.long


def test_rows_of_two_instructions_read_each_of_them_once() -> None:
    one, two = (
        single(*[400] * 10, lead=tuple(range(20))),
        single(*[300] * 12, lead=tuple(range(50, 65))),
    )
    families = grouping.families([*one, *two, *single(100, 90)], 16)
    assert [(len(rows), shared) for rows, shared in families] == [(10, 20), (12, 15), (2, 0)]


def test_what_few_rows_share_is_read_by_each() -> None:
    assert [
        shared for _, shared in grouping.families(single(200, 300, lead=tuple(range(10))), 16)
    ] == [0]


def test_room_for_keys_and_values_is_taken_as_it_is_used() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    # 512 MiB.
    shapes = {0: LayerShape(4, 64, 64)}
    caches = Gather(
        shapes, blocks=8192, size=64, dtype=torch.bfloat16, device=torch.device("cpu")
    ).caches
    assert process.memory_info().rss - before < 50 << 20
    assert not caches[0].keys[100].any() and not caches[0].values[-1].any()


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt_oss"])
def test_rows_say_the_same_in_groups_of_their_own(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, requests = build(family), mixed()
    with running(model) as engine:
        together = run(engine, requests)
    monkeypatch.setattr(grouping, "GROUP_TOKENS", 0)
    groups = []
    split = grouping.split

    def seen(*args: Any) -> Any:
        groups.append(split(*args))
        return groups[-1]

    monkeypatch.setattr(grouping, "split", seen)
    with running(model) as engine:
        apart = run(engine, requests)
    assert max(map(len, groups)) > 1
    for request in requests:
        assert_same(model, request, tokens(apart[request.id]), tokens(together[request.id]))


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt_oss"])
def test_rows_say_the_same_when_their_instructions_are_read_once(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(family)
    one, two = prompts(2, shortest=44, longest=44)
    requests = [
        ask(str(number), [*instruction, *ids], temperature=0.0, max_tokens=12)
        for number, (instruction, ids) in enumerate(
            zip([one, two, []] * 5, prompts(15, seed=1), strict=True)
        )
    ]
    families: list[int] = []
    find = grouping.families

    def noting(*args: Any) -> Any:
        found = find(*args)
        families.append(sum(shared == 5 for _, shared in found))
        return found

    monkeypatch.setattr(grouping, "families", noting)
    with running(model, kv_tokens=4096) as engine:
        apart = run(engine, requests)
    assert not any(families)
    monkeypatch.setattr(grouping, "SHARING_TOKENS", 64)
    with running(model, kv_tokens=4096) as engine:
        together = run(engine, requests)
    assert max(families) == 2
    for request in requests:
        assert_same(model, request, tokens(together[request.id]), tokens(apart[request.id]))
