"""Appending to a job: each request once, whole, within the job's limits, at a price that does not
grow with the job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from common.errors import InvalidRequest, TooLarge
from common.store import keys
from common.store.submitted import Appended
from common.store.upload_stage import CHUNK, Stage, custom_id_digest
from tests.support.store import Mill


def staged(mill: Mill, *names: str | None) -> Stage:
    """Items with these custom_ids, None for one without."""
    stage = mill.store.stage()
    for name in names:
        stage.add({"prompt": "more", "custom_id": name} if name else {"prompt": "more"})
    stage.close_for_attach()
    return stage


def append(mill: Mill, job_id: str, stage: Stage, **options: Any) -> Appended:
    return mill.store.append(
        job_id, stage, **{"tokens": stage.total, "n_max": 1, "most_items": 1000} | options
    )


def test_appends_say_which_items_they_made(mill: Mill) -> None:
    job_id = mill.submit(3)
    first, second = (
        append(mill, job_id, staged(mill, None, None)),
        append(mill, job_id, staged(mill, "x")),
    )
    assert (first.first, first.count, second.first, second.count) == (3, 2, 5, 1)
    assert mill.store.items(job_id, 5, 1) == [{"prompt": "more", "custom_id": "x"}]


def test_any_append_sent_again_after_a_lost_reply_is_answered_as_before(mill: Mill) -> None:
    job_id = mill.submit(3)
    stages = [staged(mill, f"a{i}") for i in range(3)]
    answers = [append(mill, job_id, stage) for stage in stages]
    assert [append(mill, job_id, stage) for stage in stages] == answers
    assert mill.counts(job_id) == {"pending": 6}


def test_an_append_with_the_same_key_and_content_is_answered_as_the_first(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id = mill.submit(1)
    first = append(mill, job_id, staged(mill, "x", "y"), idempotency=("k", "print"))
    append(mill, job_id, staged(mill, None))
    mill.store.cancel(job_id)
    before = key_snapshot()
    again = append(mill, job_id, staged(mill, "x", "y"), idempotency=("k", "print"))
    assert (again.outcome, again.first, again.count) == ("same", first.first, first.count)
    assert key_snapshot() == before
    assert mill.counts(job_id) == {"cancelled": 4}


def test_a_key_of_other_content_another_job_or_a_submit_is_a_conflict(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id, other = mill.submit(1, idempotency=("submit", "print")), mill.submit(1)
    append(mill, job_id, staged(mill, "x"), idempotency=("k", "print"))
    before = key_snapshot()
    assert append(mill, job_id, staged(mill, "y"), idempotency=("k", "other")).outcome == "conflict"
    assert append(mill, other, staged(mill, "x"), idempotency=("k", "print")).outcome == "conflict"
    assert (
        append(mill, job_id, staged(mill, "y"), idempotency=("submit", "print")).outcome
        == "conflict"
    )
    assert (
        mill.store.attach(
            staged(mill, "y"),
            {"tenant": "t", "total": 1, "cost": 1},
            job_id="job_0new",
            idempotency=("k", "new"),
        ).outcome
        == "conflict"
    )
    assert key_snapshot() == before


def test_a_custom_id_that_the_job_has_is_refused_however_it_came(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id = mill.submit(3 * CHUNK)  # staged in chunks; named c0, c1, ...
    append(mill, job_id, staged(mill, "one", "two"))
    append(mill, job_id, staged(mill, *(f"many{i}" for i in range(2 * CHUNK))))
    before = key_snapshot()
    for taken in ("c0", f"c{3 * CHUNK - 1}", "two", "many0", f"many{2 * CHUNK - 1}"):
        answer = append(mill, job_id, staged(mill, "new", taken))
        assert answer.outcome == "duplicate"
        assert answer.duplicates == {custom_id_digest(taken)[1]}
    assert key_snapshot() == before
    assert append(mill, job_id, staged(mill, "new")).outcome == "added", (
        "a refused append has no part in the job"
    )


def test_appended_ids_of_a_small_job_are_known_too(mill: Mill) -> None:
    stage = staged(mill, "a", "b")
    fields = {
        "tenant": "t",
        "model": "m",
        "total": 2,
        "cost": 1,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
        "retention": 1,
        "spec": "{}",
    }
    job_id = mill.store.attach(stage, fields, job_id="job_0small").job_id
    assert append(mill, job_id, staged(mill, "b")).outcome == "duplicate"


def test_a_job_never_has_more_items_than_a_job_may(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id = mill.submit(8)
    before = key_snapshot()
    with pytest.raises(TooLarge):
        append(mill, job_id, staged(mill, None, None, None), most_items=10)
    assert key_snapshot() == before
    append(mill, job_id, staged(mill, None, None), most_items=10)
    with pytest.raises(TooLarge):
        append(mill, job_id, staged(mill, None), most_items=10)


def test_streams_are_counted_over_all_appends(mill: Mill) -> None:
    job_id = mill.submit(1, streams=6)
    append(mill, job_id, staged(mill, None), streams=(4, 10))
    with pytest.raises(InvalidRequest):
        append(mill, job_id, staged(mill, None), streams=(1, 10))
    append(mill, job_id, staged(mill, None), streams=(0, 10))


def test_appending_one_item_costs_the_same_in_a_job_of_50000(mill: Mill) -> None:
    def seconds(job_id: str) -> float:
        costs = []
        for i in range(40):
            stage = staged(mill, f"new {i}")
            start = time.perf_counter()
            append(mill, job_id, stage, most_items=100_000)
            costs.append(time.perf_counter() - start)
        return sorted(costs)[len(costs) // 2]

    small, large = mill.submit(64), mill.submit(50_000)
    assert seconds(large) < 3 * seconds(small) + 0.001
    assert mill.client.hlen(keys.job(large, "in")) < 50_000 / CHUNK + 1100
