"""Of an item's rows, that of the job and those of its retries, the newest that succeeded counts."""

from __future__ import annotations

from typing import Any

from bench.lib.jobs import job_fields
from common.store import keys
from common.store.incarnation import Result
from common.store.jobs import new_job_id
from common.store.packing import pack
from common.stored_item import SideItem
from common.types import ItemState
from tests.support.store import Mill
from web.jobs.retry_chains import RetriedRows

MODEL_SLOTS = 8


def end(mill: Mill, job_id: str, failing: set[int]) -> None:
    """Run a job: those that fail have an error, the others say which job they ran in."""
    worker = mill.worker()
    while mill.counts(job_id).get("pending"):
        answer = worker.exchange([], MODEL_SLOTS)
        results = []
        for run in answer.runs:
            for index in range(run.first, run.first + run.count):
                failed = index in failing
                state = ItemState.FAILED if failed else ItemState.SUCCEEDED
                said: dict[str, Any] = {"outputs": [{"text": f"{job_id} {index}"}]}
                if failed:
                    said = {"error": {"code": "bad", "message": job_id}}
                results.append(Result(run.job_id, index, run.attempt, state, 1, 1, pack(said)))
        worker.exchange(results, 0)


def retry(mill: Mill, source: str, indices: list[int], failing: set[int] | None = None) -> str:
    """A retry of these items, run to its end unless `failing` is None."""
    stage = mill.store.stage()
    sides = mill.store.side(source, 0, 9999)
    for index in indices:
        side: SideItem = {"origin": [source, index]}
        before = sides[index] if sides else {}
        if first := before.get("first_origin") or before.get("origin"):
            side["first_origin"] = first
        stage.add({"prompt": f"prompt {index}"}, side)
    stage.close_for_attach()
    job_id = new_job_id()
    fields = job_fields("m", "d", len(indices), {"params": {}}, retry_of=source)
    mill.store.attach(stage, fields, job_id=job_id)
    # Two jobs of one millisecond have no order.
    count = mill.client.zcard(keys.tenant_jobs("t"))
    mill.client.hset(keys.job(job_id), "created_at", mill.store.now() + 10_000 * count)
    if failing is not None:
        end(mill, job_id, failing)
    return job_id


def counting(mill: Mill, job_id: str, first: int = 0, count: int = 999) -> list[tuple[str, str]]:
    """(state, job whose row counts) of items in order."""
    rows = mill.store.rows(job_id, first, count)
    swapped = RetriedRows(mill.store, mill.store.job(job_id)).swap(rows)
    assert [row["index"] for row, _ in swapped] == [row["index"] for row in rows]
    for row, of in swapped:
        if row["status"] == "succeeded":
            assert row["outputs"][0]["text"].startswith(of or job_id)
    return [(row["status"], of or job_id) for row, of in swapped]


def test_a_job_without_retries_keeps_its_rows(mill: Mill) -> None:
    job_id = mill.submit(3)
    end(mill, job_id, {1})
    states = [state for state, of in counting(mill, job_id) if of == job_id]
    assert states == ["succeeded", "failed", "succeeded"]


def test_the_newest_row_that_succeeded_counts_else_the_newest(mill: Mill) -> None:
    job = mill.submit(6)
    end(mill, job, {1, 2, 3, 5})
    a = retry(mill, job, [1, 2, 3, 5], {1, 2, 3})  # 1 succeeds
    b = retry(mill, a, [1, 2, 3], {1, 2})  # a's 1 is the job's 2, which succeeds; 3 and 5 fail
    c = retry(mill, job, [1, 2, 3, 5], {0, 1, 2, 3})  # a second retry of the job: all fail
    d = retry(mill, c, [3], set())  # the job's 5
    own, good, bad = ("succeeded", job), "succeeded", "failed"
    assert counting(mill, job) == [own, (good, a), (good, b), (bad, c), own, (good, d)]
    assert counting(mill, job, 3, 2) == [(bad, c), own]
    assert counting(mill, a) == [(good, a), (good, b), (bad, b), (bad, b)]


def test_a_retry_that_is_not_over_takes_nothing_away(mill: Mill) -> None:
    job = mill.submit(2)
    end(mill, job, {0, 1})
    waiting = retry(mill, job, [0, 1])
    assert counting(mill, job) == [("failed", job)] * 2
    mill.store.cancel(waiting)
    assert counting(mill, job) == [("cancelled", waiting)] * 2


def test_a_retry_that_was_deleted_is_as_if_it_had_not_been(mill: Mill) -> None:
    job = mill.submit(2)
    end(mill, job, {0, 1})
    first = retry(mill, job, [0, 1], {1})
    rows = RetriedRows(mill.store, mill.store.job(job))
    mill.store.delete(first)
    assert [of for _, of in rows.swap(mill.store.rows(job, 0, 9))] == [None, None]
    mill.client.hset(keys.job(job), mapping={"retries": first, "retried_by": first})
    assert counting(mill, job) == [("failed", job)] * 2


def test_the_retries_of_a_retry_that_was_deleted_count_on(mill: Mill) -> None:
    job = mill.submit(5)
    end(mill, job, {1, 2, 3})
    a = retry(mill, job, [1, 2, 3], {0, 1, 2})
    b = retry(mill, a, [0, 1, 2], {1, 2})  # the job's 1 succeeds
    c = retry(mill, b, [1, 2], {1})  # its 2
    other = retry(mill, job, [3], {0})
    d = retry(mill, c, [1], set())  # its 3
    own, good = ("succeeded", job), "succeeded"
    assert counting(mill, job) == [own, (good, b), (good, c), (good, d), own]
    for gone, listed in ((c, (other, a)), (a, (other, b))):
        mill.store.delete(gone)
        assert counting(mill, job) == [own, (good, b), ("failed", b), (good, d), own]
        assert mill.store.job(job).retries == listed
    assert (mill.store.job(b).retry_of, mill.store.job(d).retry_of) == (job, b)
    assert mill.store.job(b).retries == (d,)
    assert counting(mill, b) == [(good, b), ("failed", b), (good, d)]


def test_a_rerun_stands_for_nothing(mill: Mill) -> None:
    job = mill.submit(1)
    end(mill, job, {0})
    again = mill.submit(1, rerun_of=job)
    end(mill, again, set())
    assert mill.store.job(again).rerun_of == job
    assert counting(mill, job) == [("failed", job)]


def test_chains_of_large_jobs_are_followed_across_pages(mill: Mill) -> None:
    job = mill.submit(1500)
    failed = set(range(0, 1500, 3))
    end(mill, job, failed)
    again = retry(mill, job, sorted(failed), {0, 499})
    expected = [
        ("succeeded", again if i in failed else job) if i not in (0, 1497) else ("failed", again)
        for i in range(1500)
    ]
    assert counting(mill, job, 0, 1500) == expected
    assert counting(mill, job, 700, 50) == expected[700:750]
