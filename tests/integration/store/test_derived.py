"""Jobs that wait for other jobs: they are due when their last source ended, attach once under their
own id, and end where a source is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.lib.jobs import job_fields
from common.errors import Conflict, NotFound, StorageFull, TooMany
from common.store import keys
from common.store.admission import Limits
from common.store.derived import MOST_WAITING, DerivedClaim, DerivedJobs
from common.store.job import InputFrom
from common.store.jobs import new_job_id
from common.store.submitted import KeyUse
from common.types import JobState
from tests.support.leaks import leaks
from tests.support.store import DAY, Mill, done

ERROR: Any = {"code": "source_empty", "message": "no rows"}


@pytest.fixture
def derived(mill: Mill) -> DerivedJobs:
    return DerivedJobs(mill.client)


def wait_for(
    derived: DerivedJobs, *sources: str, tenant: str = "t", job_id: str = "", **more: Any
) -> str:
    fields = job_fields("m", "d", 0, {"params": {}}, **{"bytes": 0, **more.pop("fields", {})})
    fields.pop("tenant", None)
    given: dict[str, Any] = {
        "limits": Limits(),
        "prep": {"template": {"prompt": "{{output}}"}},
    } | more
    name = job_id or new_job_id()
    told, found = derived.submit(name, tenant, InputFrom(sources), fields, **given)
    assert told in ("new", "same"), told
    return found


def attach(mill: Mill, job_id: str, *sources: str, items: int = 2) -> str:
    stage = mill.stage([1] * items)
    stage.prep = {"template": {"prompt": "{{output}}"}}
    fields = job_fields("m", "e", items, {"params": {}}, priority=9, **InputFrom(sources).field())
    return mill.store.attach(stage, fields, job_id=job_id).outcome


def lapse(mill: Mill, job_id: str) -> None:
    """Let the time until the job is looked at again, or the claim on it, run out."""
    mill.client.zadd(keys.derived_line("t"), {job_id: 1})


def run(mill: Mill, room: int = 8) -> None:
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], room)), 0)


def claimed(derived: DerivedJobs) -> DerivedClaim:
    found = derived.claim(5)
    assert found is not None
    return found


def test_it_is_due_when_the_last_of_its_sources_ended(mill: Mill, derived: DerivedJobs) -> None:
    first, last = mill.submit(1), mill.submit(1)
    job_id = wait_for(derived, first, last)
    job = mill.store.job(job_id)
    assert (job.status, job.total, job.waiting) == (JobState.QUEUED, 0, True)
    assert job.input_from == InputFrom((first, last))
    assert {each.id for each in mill.store.jobs("t", None, 9)[0]} == {job_id, last, first}
    assert derived.claim(5) is None
    mill.store.cancel(first)
    assert derived.claim(5) is None
    run(mill)
    assert claimed(derived).job_id == job_id


def test_it_is_due_at_once_where_all_are_over(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    run(mill)
    job_id = wait_for(derived, source)
    assert claimed(derived).job_id == job_id


def test_one_process_has_it_until_its_claim_runs_out(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    mill.store.cancel(source)
    job_id = wait_for(derived, source)
    first = claimed(derived)
    other = wait_for(derived, source)
    assert (first.job_id, first.tries) == (job_id, 1)
    assert derived.claim(5) is None, "a tenant has one in hand at a time"
    assert derived.hold(first, 5)
    lapse(mill, job_id)
    second = claimed(derived)
    assert (second.job_id, second.tries) == (job_id, 2)
    assert not derived.hold(first, 5)
    derived.end(first, "source_empty", ERROR)
    assert mill.store.job(job_id).waiting, "what was claimed by another is not ended"
    derived.postpone(second, 0)
    assert {claimed(derived).job_id} <= {job_id, other}


def test_a_try_that_could_not_be_does_not_count(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    mill.store.cancel(source)
    wait_for(derived, source)
    for _ in range(3):
        claim = claimed(derived)
        assert claim.tries == 1
        derived.postpone(claim, 0)


def test_it_attaches_once_under_its_own_id(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    mill.store.cancel(source)
    job_id = wait_for(derived, source)
    created_at = mill.store.job(job_id).created_at
    claim = claimed(derived)
    assert attach(mill, job_id, source) == "new"
    assert attach(mill, job_id, source, items=5) == "new"
    job = mill.store.job(job_id)
    assert (job.total, job.pending, job.waiting, job.digest) == (2, 2, False, "e")
    assert job.created_at == created_at
    assert not derived.hold(claim, 5)
    assert derived.claim(5) is None
    assert mill.client.keys("pm:stage:*") == [], "what was staged twice is dropped"
    assert not mill.client.hexists(keys.job(source), "awaited")
    assert len(mill.store.jobs("t", None, 9)[0]) == 2


def test_what_its_tenant_changed_while_it_waited_stays(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    job_id = wait_for(derived, source)
    for field, value in {"priority": 3, "token_budget": 50, "paused": 1}.items():
        mill.store.edit(job_id, field, value)
    mill.store.cancel(source)
    claimed(derived)
    attach(mill, job_id, source)
    job = mill.store.job(job_id)
    assert (job.priority, job.token_budget, job.paused, job.pending) == (3, 50, True, 2)
    worker = mill.worker()
    assert not worker.exchange([], 8).runs
    mill.store.edit(job_id, "paused", 0)
    assert len(worker.exchange([], 8).runs) == 1


@pytest.mark.parametrize("how", ["delete", "cancel", "expire"])
def test_one_that_ended_while_it_waited_is_not_made_again(
    mill: Mill, derived: DerivedJobs, how: str
) -> None:
    source = mill.submit(1)
    mill.store.cancel(source)
    job_id = wait_for(derived, source, deadline=mill.store.now() + 1)
    claimed(derived)
    if how == "delete":
        mill.store.delete(job_id)
    elif how == "cancel":
        assert mill.store.cancel(job_id)[0] == JobState.CANCELLED
    else:
        mill.client.zadd("pm:due", {f"expire:{job_id}": 1})
        mill.tick()
        assert mill.store.job(job_id).status == JobState.EXPIRED
    told = attach(mill, job_id, source)
    if how == "delete":
        assert told == "deleted" and not mill.store.has_job(job_id)
    else:
        assert mill.store.job(job_id).total == 0
    assert derived.claim(5) is None
    assert mill.client.keys("pm:stage:*") == []
    assert not mill.client.hexists(keys.job(source), "awaited")


def test_a_deleted_source_ends_it_and_what_waits_for_it_in_turn(
    mill: Mill, derived: DerivedJobs
) -> None:
    source = mill.submit(1)
    job_id = wait_for(derived, source, fields={"hooks": "job.finished"})
    behind = wait_for(derived, job_id)
    mill.store.delete(source)
    job = mill.store.job(job_id)
    assert (job.status, job.cancel_reason) == (JobState.CANCELLED, "source_deleted")
    assert job.error and job.error["code"] == "source_deleted" and source in job.error["message"]
    assert [event.type for event in mill.store.hooks(job_id)] == ["job.finished"]
    claim = claimed(derived)
    assert claim.job_id == behind
    derived.end(claim, "source_empty", ERROR)
    ended = mill.store.job(behind)
    assert (ended.cancel_reason, ended.error) == ("source_empty", ERROR)
    assert derived.claim(5) is None


def test_a_source_is_not_purged_while_a_job_waits_for_it(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1, retention=0)
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 1)), 0)
    slow = mill.submit(1)
    job_id = wait_for(derived, source, slow)
    mill.tick()
    assert mill.store.has_job(source)
    mill.client.hset("pm:tick", "at", str(mill.store.now() - 1000))
    mill.fleet.tick(5.0, 3, keep_bytes=1)
    assert mill.store.has_job(source)
    mill.store.cancel(slow)
    claimed(derived)
    attach(mill, job_id, source, slow)
    mill.client.zadd("pm:due", {f"purge:{source}": 1})
    mill.tick()
    assert not mill.store.has_job(source)


def test_sources_that_older_parts_ended_or_removed_are_found(
    mill: Mill, derived: DerivedJobs
) -> None:
    ended, removed = mill.submit(1), mill.submit(1)
    job_id = wait_for(derived, ended, removed)
    mill.client.hset(keys.job(ended), "status", "completed")
    mill.client.delete(keys.job(removed))
    assert derived.claim(5) is None
    lapse(mill, job_id)
    assert claimed(derived).job_id == job_id
    for name in mill.client.keys(f"pm:job:{removed}:*"):
        mill.client.delete(name)
    mill.client.zadd("pm:due", {f"purge:{ended}": mill.store.now() + DAY})


def test_only_the_tenants_own_jobs_can_be_sources(mill: Mill, derived: DerivedJobs) -> None:
    foreign = mill.submit(1, tenant="other")
    for source in (foreign, "job_0nothing"):
        with pytest.raises(NotFound):
            wait_for(derived, source)
    assert mill.client.keys("pm:derived:*") == []


def test_the_same_key_makes_one_job_and_other_content_is_told(
    mill: Mill, derived: DerivedJobs
) -> None:
    source = mill.submit(1)
    key = KeyUse("k", "print")
    first = wait_for(derived, source, idempotency=key)
    assert wait_for(derived, source, idempotency=key) == first
    fields = job_fields("m", "d", 0, {}, bytes=0)
    told, _ = derived.submit(
        new_job_id(),
        "t",
        InputFrom((source,)),
        fields,
        {},
        idempotency=KeyUse("k", "other"),
        limits=Limits(),
    )
    assert told == "conflict"


def test_so_many_may_wait_and_keep_so_much(mill: Mill, derived: DerivedJobs) -> None:
    source = mill.submit(1)
    with pytest.raises(StorageFull):
        wait_for(derived, source, limits=Limits(stored_bytes=100))
    for _ in range(MOST_WAITING):
        wait_for(derived, source)
    with pytest.raises(TooMany):
        wait_for(derived, source)
    wait_for(derived, mill.submit(1, tenant="u"), tenant="u")


def test_no_items_can_be_added_before_it_has_its_own(mill: Mill, derived: DerivedJobs) -> None:
    job_id = wait_for(derived, mill.submit(1))
    with pytest.raises(Conflict, match="waits for other jobs"):
        mill.store.append(job_id, mill.stage([1]), tokens=1, n_max=1, most_items=9)


def test_nothing_is_left_of_it(
    mill: Mill, derived: DerivedJobs, key_snapshot: Callable[[], set[str]]
) -> None:
    source = mill.submit(1, priority=0)
    before = key_snapshot()
    waiting, made = wait_for(derived, source), wait_for(derived, source)
    assert mill.client.hexists("pm:stored:t", "jobs")
    assert leaks(mill.client) == []
    mill.store.cancel(source)
    while claim := derived.claim(5):
        if claim.job_id == made:
            attach(mill, made, source)
            break
        derived.postpone(claim, 9)
    assert leaks(mill.client) == []
    for job_id in (waiting, made, source):
        mill.store.delete(job_id)
    assert not {name for name in key_snapshot() - before if "derived" in name or "job" in name}
    assert not mill.client.hexists("pm:stored:t", "jobs")
