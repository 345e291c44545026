"""Slots: an item takes as many as it has continuations, and what does not fit a worker hides
nothing that does."""

from __future__ import annotations

import pytest

from common.store import scripts
from common.store.incarnation import Exchanged
from common.store.packing import pack
from common.types import ItemState
from tests.support.store import Mill, done, taken


def indices(exchanged: Exchanged) -> list[int]:
    return [index for _, index, _ in taken(exchanged)]


def test_one_line_of_many_continuations_among_others_takes_its_own_slots_and_no_more(
    mill: Mill,
) -> None:
    needs = [1] * 96
    needs[37] = 16
    mill.submit(needs)
    worker = mill.worker(slots=64)
    first = worker.exchange([], 64)
    assert indices(first) == list(range(49)), "48 of one slot and one of sixteen"
    assert indices(worker.exchange(done(first), 64)) == list(range(49, 96))


@pytest.mark.parametrize(("needs", "n"), [([4, 4, 4], 1), ([4, 4, 4], 4), ([1, 1, 1], 1)])
def test_a_job_whose_items_take_the_same_writes_nothing_down_for_each(
    mill: Mill, needs: list[int], n: int
) -> None:
    job_id = mill.submit(needs, n=n)
    assert not mill.client.exists(f"pm:job:{job_id}:needs")
    assert len(taken(mill.worker(slots=64).exchange([], 8))) == min(3, 8 // needs[0])


def test_items_that_say_nothing_take_what_their_job_says(mill: Mill) -> None:
    mill.submit([2, 8, 2], n=8)
    assert indices(mill.worker(slots=16).exchange([], 11)) == [0, 1]


def test_a_pending_item_of_a_mixed_job_costs_one_byte_more(mill: Mill) -> None:
    job_id = mill.submit([1, 2] * 500)
    assert mill.client.strlen(f"pm:job:{job_id}:needs") == 1000


def test_an_item_waits_for_the_room_it_needs_and_is_not_passed_by_its_neighbours(
    mill: Mill,
) -> None:
    mill.submit([1, 6, 1, 1])
    worker = mill.worker(slots=8)
    assert indices(worker.exchange([], 4)) == [0]
    assert worker.exchange([], 4).runs == []
    assert indices(worker.exchange([], 7)) == [1, 2]


def test_what_comes_back_takes_its_own_slots_too(mill: Mill) -> None:
    mill.submit([1, 6, 1, 1])
    worker = mill.worker(slots=16)
    answer = worker.exchange([], 16)
    back = [
        result.__class__(**{**vars(result), "state": ItemState.PENDING, "blob": pack([])})
        for result in done(answer)
    ]
    assert indices(worker.exchange(back, 4)) == [0]
    assert worker.exchange([], 5).runs == []
    assert indices(worker.exchange([], 7)) == [1, 2]


def test_a_cohort_is_counted_in_slots(mill: Mill) -> None:
    mill.submit([1, 1, 3, 1, 1, 1])
    dead = mill.worker(slots=16)
    assert len(taken(dead.exchange([], 16))) == 6
    mill.lose(dead)
    mill.tick()
    worker, seen = mill.worker(slots=16), []
    answer = worker.exchange([], 16)
    while answer.runs:
        seen.append(indices(answer))
        answer = worker.exchange(done(answer), 16)
    assert seen == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("before", "added", "expected"),
    [
        ([1, 1], [1, 4], [1, 1, 1, 4]),
        ([1, 1], [4, 4], [1, 1, 4, 4]),
        ([1, 4], [1, 1], [1, 4, 1, 1]),
        ([4, 4], [4], None),
    ],
)
def test_appended_items_take_their_own_slots(
    mill: Mill, before: list[int], added: list[int], expected: list[int] | None
) -> None:
    job_id = mill.submit(before)
    mill.store.append(
        job_id, mill.stage(added, named=False), tokens=10, n_max=max(added), most_items=1000
    )
    found = mill.client.get(f"pm:job:{job_id}:needs")
    assert found == (bytes(expected) if expected else None)
    worker, slots = mill.worker(slots=64), sum(before + added)
    assert indices(worker.exchange([], slots - 1)) == list(range(len(before + added) - 1))


def test_a_small_worker_goes_on_behind_items_that_only_a_larger_one_can_run(mill: Mill) -> None:
    job_id = mill.submit([16, 16, 1, 16, 1, 1])
    small, large = mill.worker(slots=8), mill.worker(slots=64)
    assert indices(small.exchange([], 2)) == [2, 4]
    assert sorted(indices(large.exchange([], 64))) == [0, 1, 3, 5]
    assert mill.counts(job_id) == {"running": 6}


def test_what_a_small_worker_passed_over_without_taking_anything_is_given_out_once(
    mill: Mill,
) -> None:
    job_id = mill.submit([1, 16, 16])
    small, large = mill.worker(slots=8), mill.worker(slots=64)
    assert indices(small.exchange([], 1)) == [0]
    assert small.exchange([], 7).runs == []
    assert mill.store.job(job_id).cursor == 3 and mill.client.zcard(f"pm:job:{job_id}:retry") == 2
    answer = large.exchange([], 64)
    assert sorted(indices(answer)) == [1, 2]
    assert large.exchange(done(answer), 64).runs == []
    assert mill.counts(job_id) == {"running": 1, "succeeded": 2}


def test_what_a_small_worker_passed_over_ends_with_its_job(mill: Mill) -> None:
    job_id = mill.submit([16, 16, 1, 1])
    small = mill.worker(slots=8)
    answer = small.exchange([], 1)
    assert indices(answer) == [2]
    mill.store.cancel(job_id)
    small.exchange(done(answer), 8)
    assert mill.counts(job_id) == {"cancelled": 3, "succeeded": 1}
    assert not mill.client.exists(f"pm:job:{job_id}:needs")


def test_slots_kept_for_interactive_jobs_go_to_items_that_fit_nowhere_else(mill: Mill) -> None:
    mill.submit([1, 7, 1, 1])
    worker = mill.worker(slots=8)
    assert indices(worker.exchange([], 8, kept=2)) == [0, 1]
    mill.submit([1] * 9)
    assert len(taken(mill.worker(slots=8).exchange([], 8, kept=2))) == 6


def test_jobs_that_do_not_fit_hide_no_other_of_their_tenant(mill: Mill) -> None:
    for _ in range(60):
        mill.submit([16])
    fits = mill.submit(3)
    assert taken(mill.worker(slots=8).exchange([], 8)) == [(fits, i, 1) for i in range(3)]


@pytest.mark.parametrize("interactive", [0, 1])
def test_tenants_whose_jobs_do_not_fit_hide_no_other(mill: Mill, interactive: int) -> None:
    for i in range(50):
        mill.submit([16], f"t{i}", interactive=interactive)
    fits = [mill.submit(2, tenant, interactive=interactive) for tenant in ("u", "v")]
    items = taken(mill.worker(slots=8).exchange([], 8))
    assert sorted(items) == sorted((job_id, i, 1) for job_id in fits for i in range(2))


def test_however_many_jobs_do_not_fit_a_worker_gets_behind_them_in_bounded_calls(
    mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scripts.source("exchange")
    assert "PASSED = 1000" in whole
    shortened = {"exchange": whole.replace("PASSED = 1000", "PASSED = 20")}
    monkeypatch.setattr(
        scripts, "source", lambda name, real=scripts.source: shortened.get(name) or real(name)
    )
    for _ in range(30):
        mill.submit([16])
    fits = mill.submit(1)
    for _ in range(30):
        mill.submit([16])
    worker, calls = mill.worker(slots=8), 1
    while not (answer := worker.exchange([], 8)).runs:
        calls += 1
    assert taken(answer) == [(fits, 0, 1)] and calls == 2
    more, calls = mill.submit(1, priority=10), 0
    while not (answer := worker.exchange(done(answer), 8)).runs:
        calls += 1
    assert taken(answer) == [(more, 0, 1)] and calls <= 3, "it begins at the front again"


def test_tenants_are_served_in_turn_past_those_that_do_not_fit(mill: Mill) -> None:
    mill.submit([16], "wide")
    jobs = [mill.submit(20, tenant) for tenant in ("u", "v")]
    items = taken(mill.worker(slots=8).exchange([], 8))
    assert [[job_id for job_id, _, _ in items].count(job_id) for job_id in jobs] == [4, 4]
