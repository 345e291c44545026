"""Comparisons in the store: made once, computed by one evaluator at a time, gone with jobs."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import NotFound, TooMany
from common.store.comparison_rows import RowBlock, pack_block, parse_block
from common.store.comparisons import MOST_KEPT, MOST_TRIES, MOST_WAITING, Asked, Comparisons
from tests.support.store import Mill


@pytest.fixture
def comparisons(mill: Mill) -> Comparisons:
    return Comparisons(mill.client)


def ask(mill: Mill, count: int = 2, tenant: str = "t") -> Asked:
    jobs = tuple(mill.submit(1, tenant=tenant) for _ in range(count))
    return Asked(jobs, tuple(job.replace("job_", "eval_") for job in jobs))


def expire_claims(mill: Mill, tenant: str = "t") -> None:
    line = f"pm:comparisons:due:{tenant}"
    for name, _ in mill.client.zscan_iter(line):
        mill.client.zadd(line, {name: 1})


def test_asked_for_again_it_is_the_same(mill: Mill, comparisons: Comparisons) -> None:
    asked = ask(mill)
    assert comparisons.create("t", asked)
    assert not comparisons.create("t", asked)
    claimed = comparisons.claim()
    assert claimed and (claimed.id, claimed.tenant, claimed.asked) == (asked.id, "t", asked)
    assert comparisons.claim() is None
    assert comparisons.end(claimed, {"n": 1}, 0)
    assert not comparisons.create("t", asked)
    found = comparisons.get(asked.id)
    assert (found.status, found.result) == ("done", {"n": 1})
    assert comparisons.claim() is None


def test_which_job_is_the_baseline_and_which_evaluations_matters(mill: Mill) -> None:
    one = ask(mill)
    others = {
        Asked(one.jobs[::-1], one.evaluations[::-1]).id,
        Asked(one.jobs, (one.evaluations[0], "eval_other")).id,
    }
    assert len({one.id, *others}) == 3


def test_a_job_is_compared_with_itself(mill: Mill, comparisons: Comparisons) -> None:
    asked = ask(mill)
    twice = Asked(asked.jobs[:1] * 2, asked.evaluations[:1] * 2)
    assert comparisons.create("t", twice)
    assert comparisons.claim() is not None


def test_the_evaluator_whose_claim_ended_writes_nothing(
    mill: Mill, comparisons: Comparisons
) -> None:
    asked = ask(mill)
    comparisons.create("t", asked)
    late = comparisons.claim()
    expire_claims(mill)
    other = comparisons.claim()
    assert late and other and late.token != other.token
    assert not comparisons.hold(late)
    assert not comparisons.keep_rows(late, {0: b"wrong"})
    assert not comparisons.end(late, {"wrong": 1}, 0)
    assert comparisons.keep_rows(other, {0: b"x", 2: b"y"})
    assert comparisons.end(other, {"n": 2}, 2)
    assert comparisons.get(asked.id).result == {"n": 2}
    assert comparisons.blocks(asked.id, [0, 1, 2]) == [b"x", None, b"y"]


def test_it_is_done_only_with_all_its_rows_also_if_the_server_has_forgotten_some(
    mill: Mill, comparisons: Comparisons
) -> None:
    asked = ask(mill)
    comparisons.create("t", asked)
    claimed = comparisons.claim()
    assert claimed
    assert comparisons.keep_rows(claimed, {0: b"x"})
    assert not comparisons.end(claimed, {"n": 2}, 2)
    assert comparisons.get(asked.id).status != "done"
    assert comparisons.keep_rows(claimed, {3: b"y"})
    assert comparisons.end(claimed, {"n": 2}, 2)
    assert comparisons.get(asked.id).status == "done"


def test_one_of_which_evaluators_die_fails_and_may_be_asked_for_again(
    mill: Mill, comparisons: Comparisons
) -> None:
    asked = ask(mill)
    comparisons.create("t", asked)
    for _ in range(MOST_TRIES):
        assert comparisons.claim() is not None
        expire_claims(mill)
    assert comparisons.claim() is None
    assert comparisons.get(asked.id).status == "failed"
    assert 0 < mill.client.pttl(f"pm:comparison:{asked.id}") <= 60_000
    mill.client.delete(f"pm:comparison:{asked.id}")  # as its end does
    assert comparisons.create("t", asked)
    assert comparisons.claim() is not None


def test_what_an_evaluator_gives_back_is_anothers_at_once_and_no_try_of_it_counts(
    mill: Mill, comparisons: Comparisons
) -> None:
    comparisons.create("t", ask(mill))
    for _ in range(2 * MOST_TRIES):
        claimed = comparisons.claim()
        assert claimed is not None
        assert comparisons.give_back(claimed)
        assert not comparisons.end(claimed, {}, 0)


def test_the_tick_says_that_an_evaluator_is_to_be_rung(
    mill: Mill, comparisons: Comparisons
) -> None:
    assert not mill.fleet.tick(5.0, 3).evaluate
    comparisons.create("t", ask(mill))
    assert mill.fleet.tick(5.0, 3).evaluate
    comparisons.claim()
    assert not mill.fleet.tick(5.0, 3).evaluate


def test_tenants_take_turns(mill: Mill, comparisons: Comparisons) -> None:
    for tenant, count in (("many", 3), ("few", 1)):
        for _ in range(count):
            comparisons.create(tenant, ask(mill, tenant=tenant))
    claimed = [comparisons.claim() for _ in range(4)]
    assert [each.tenant for each in claimed if each] == ["many", "few", "many", "many"]


def test_it_goes_with_any_of_its_jobs(mill: Mill, comparisons: Comparisons) -> None:
    for end in (False, True):
        asked = ask(mill)
        comparisons.create("t", asked)
        claimed = comparisons.claim()
        assert claimed is not None
        if end:
            comparisons.end(claimed, {}, 0)
        mill.store.delete(asked.jobs[1])
        with pytest.raises(NotFound):
            comparisons.get(asked.id)
        assert not comparisons.hold(claimed)
        with pytest.raises(NotFound):
            comparisons.create("t", asked)
        mill.store.delete(asked.jobs[0])
    assert mill.client.keys("pm:comparison*") == []


def test_too_many_that_wait_are_refused_and_the_oldest_of_all_go(
    mill: Mill, comparisons: Comparisons
) -> None:
    jobs = ask(mill).jobs

    def make(number: int) -> str:
        asked = Asked(jobs, ("eval_a", f"eval_{number}"))
        comparisons.create("t", asked)
        return asked.id

    made = [make(number) for number in range(MOST_WAITING)]
    with pytest.raises(TooMany):
        make(MOST_WAITING)
    while claimed := comparisons.claim():
        comparisons.end(claimed, {}, 0)
    for number in range(MOST_WAITING, MOST_KEPT + 1):
        made.append(make(number))
        claimed = comparisons.claim()
        assert claimed is not None
        comparisons.end(claimed, {}, 0)
    kept = [name for name in made if mill.client.exists(f"pm:comparison:{name}")]
    assert len(kept) == MOST_KEPT
    assert made[-1] in kept


def test_one_whose_record_expired_is_passed_over(mill: Mill, comparisons: Comparisons) -> None:
    first, second = ask(mill), ask(mill)
    comparisons.create("t", first)
    comparisons.create("t", second)
    mill.client.delete(f"pm:comparison:{first.id}")
    claimed = comparisons.claim()
    assert claimed and claimed.id == second.id


def test_followers_of_the_baseline_hear_of_the_end(mill: Mill, comparisons: Comparisons) -> None:
    asked = ask(mill)
    comparisons.create("t", asked)
    claimed = comparisons.claim()
    assert claimed is not None
    with mill.client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("pm:changes")
        while channel.get_message(timeout=0.2):
            pass
        comparisons.end(claimed, {}, 0)
        message = channel.get_message(timeout=5)
        assert message and message["data"] == asked.jobs[0].encode()


def test_rows_come_back_as_they_were_kept() -> None:
    draw = np.random.default_rng(1)
    for rows, jobs, metrics in ((0, 2, 1), (7, 4, 3), (4096, 2, 0)):
        block = RowBlock(
            draw.integers(0, 2**31, (rows, jobs)).astype(np.int32),
            draw.integers(0, 4, rows).astype(np.uint8),
            draw.integers(-1, 2, (rows, metrics, jobs - 1)).astype(np.int8),
        )
        found = parse_block(pack_block(block), jobs, [f"m{i}" for i in range(metrics)])
        for name in ("places", "flags", "verdicts"):
            assert getattr(found, name).tolist() == getattr(block, name).tolist()
