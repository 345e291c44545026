"""Batches before they are jobs: tenants in turn, one validator at a time, whoever dies; and what
goes with their job, or without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.errors import NotFound, TooMany
from common.store import keys
from common.store.batches import Batches, Claim, job_of, new_batch_id
from common.store.outbox import Outbox
from tests.support.store import BATCH_FIELDS, DAY, Mill, done

BATCH = "batch_" + "ab" * 10
FIELDS = BATCH_FIELDS | {"webhook": json.dumps({"url": "http://127.0.0.1:9/"})}


@pytest.fixture
def batches(mill: Mill) -> Batches:
    made = Batches(mill.client)
    made.create(BATCH, "t", FIELDS)
    return made


def lapse(mill: Mill, batch_id: str = BATCH) -> None:
    """Let the claim on a batch run out without waiting for it."""
    mill.client.zadd(keys.batches_due("t"), {batch_id: 1})


def job(mill: Mill, **fields: Any) -> str:
    return mill.submit(2, job_id=job_of(BATCH), batch=BATCH, **fields)


def deliveries(mill: Mill) -> Outbox:
    return Outbox(mill.client, lease=5, attempts=5, backoff=1)


def test_one_validator_has_a_batch_until_its_claim_runs_out(mill: Mill, batches: Batches) -> None:
    first = batches.claim(5)
    assert first is not None and (first.batch_id, first.tries) == (BATCH, 1)
    assert batches.claim(5) is None
    assert batches.hold(first, 5) == "held"
    lapse(mill)
    second = batches.claim(5)
    assert second is not None and second.tries == 2
    assert batches.hold(first, 5) == "lost"
    assert not batches.end(first, "failed", retention=DAY), (
        "what was claimed by another cannot be ended"
    )
    assert batches.end(second, "failed", errors="[]", retention=DAY)
    assert batches.get(BATCH).failed_at is not None
    assert batches.claim(5) is None


def test_a_try_that_could_not_be_does_not_count(mill: Mill, batches: Batches) -> None:
    claim = batches.claim(5)
    assert claim is not None
    batches.postpone(claim, 60)
    assert batches.claim(5) is None, "it is not due yet"
    lapse(mill)
    again = batches.claim(5)
    assert again is not None and again.tries == 1


def test_making_a_batch_twice_makes_it_once(mill: Mill, batches: Batches) -> None:
    assert batches.create(BATCH, "t", BATCH_FIELDS | {"file": "file-2"}) == ("new", BATCH)
    assert batches.get(BATCH, "t").file == "file-1"


def test_a_key_finds_the_batch_it_made_as_long_as_that_is_there(
    mill: Mill, batches: Batches
) -> None:
    first, second, third = (new_batch_id() for _ in range(3))
    assert batches.create(first, "t", FIELDS, ("key", "content")) == ("new", first)
    assert batches.create(first, "t", FIELDS, ("key", "content")) == ("new", first), (
        "its answer was lost"
    )
    assert batches.create(second, "t", FIELDS, ("key", "content")) == ("same", first)
    assert batches.create(second, "t", FIELDS, ("key", "other")) == ("conflict", first)
    assert batches.create(second, "u", FIELDS, ("key", "other")) == ("new", second), (
        "another tenant's key"
    )
    assert 86_390 < mill.client.ttl("pm:batchidem:t:key") <= 86_400
    mill.store.delete(mill.submit(1, job_id=job_of(first), batch=first))
    assert batches.create(third, "t", FIELDS, ("key", "content")) == ("same", first), (
        "a late repetition"
    )
    assert batches.create(third, "t", FIELDS, ("key", "other")) == ("new", third)
    assert batches.create(first, "t", FIELDS, ("key", "other")) == ("same", third)


def test_a_validator_that_was_frozen_makes_no_job_of_a_deleted_batch(
    mill: Mill, batches: Batches
) -> None:
    job_id = job(mill)
    mill.store.delete(job_id)
    job(mill)
    assert not mill.client.exists(keys.job(job_id))


def test_a_wish_to_cancel_reaches_whoever_validates(batches: Batches) -> None:
    claim = batches.claim(5)
    assert claim is not None
    batches.cancel(BATCH)
    assert batches.hold(claim, 5) == "cancel"


def test_a_note_on_a_batch_that_is_gone_makes_none(mill: Mill, batches: Batches) -> None:
    batches.note(BATCH, sized=7, sized_output=70)
    found = batches.get(BATCH)
    assert (found.sized, found.sized_output) == (7, 70)
    mill.client.delete(keys.batch(BATCH))
    batches.note(BATCH, sized=8)
    assert not mill.client.exists(keys.batch(BATCH))


def test_another_tenants_batch_is_not_found(batches: Batches) -> None:
    with pytest.raises(NotFound):
        batches.get(BATCH, "other")
    assert list(batches.walk("other")) == []


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "expired"])
def test_a_batch_without_a_job_tells_of_its_end_and_is_purged_in_time(
    mill: Mill, batches: Batches, key_snapshot: Callable[[], set[str]], outcome: str
) -> None:
    claim = batches.claim(5)
    assert claim is not None and batches.end(claim, outcome, retention=1)  # type: ignore[arg-type]
    (event,) = deliveries(mill).due()
    assert (event.owner, event.type, event.data) == (BATCH, f"batch.{outcome}", {"id": BATCH})
    mill.client.zadd(keys.DUE, {f"batch:{BATCH}": 1})
    mill.tick()
    assert not [
        name for name in key_snapshot() if BATCH in name or name.startswith(("pm:hook", "pm:batch"))
    ]


def test_the_end_of_a_batchs_job_is_told_as_the_batchs(mill: Mill, batches: Batches) -> None:
    job(mill, hooks="job.finished")
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 0)
    (event,) = deliveries(mill).due()
    assert (event.owner, event.type, event.data) == (
        job_of(BATCH),
        "batch.completed",
        {"id": BATCH},
    )


@pytest.mark.parametrize("end", ["delete", "retention"])
def test_a_batch_goes_with_its_job(
    mill: Mill, batches: Batches, key_snapshot: Callable[[], set[str]], end: str
) -> None:
    claim = batches.claim(5)
    assert claim is not None
    job_id = job(mill, hooks="job.finished")
    batches.end(claim, "queued")
    mill.store.cancel(job_id)
    if end == "delete":
        mill.store.delete(job_id)
    else:
        mill.client.zadd(keys.DUE, {f"purge:{job_id}": 1})
        mill.tick()
    assert not [
        name
        for name in key_snapshot()
        if BATCH in name or name.startswith(("pm:hook", "pm:batch", "pm:job"))
    ]
    assert list(batches.walk("t")) == []


def test_batches_are_walked_in_order_over_pages(mill: Mill, batches: Batches) -> None:
    names = [f"batch_{i:020}" for i in range(5)]
    for at, name in enumerate(names):
        batches.create(name, "many", BATCH_FIELDS)
        mill.client.zadd(keys.tenant_batches("many"), {name: at})
    assert [each.id for each in batches.walk("many", page=2)] == names[::-1]
    assert [
        each.id for each in batches.walk("many", newest_first=False, behind=(1, names[1]), page=2)
    ] == names[2:]


def due(mill: Mill, *tenants: str) -> list[str]:
    """A new batch of each of these, in this order."""
    batches, made = Batches(mill.client), [new_batch_id() for _ in tenants]
    for batch_id, tenant in zip(made, tenants, strict=True):
        batches.create(batch_id, tenant, BATCH_FIELDS)
        # Not all of one millisecond.
        mill.client.zadd(keys.batches_due(tenant), {batch_id: made.index(batch_id)})
    return made


def claim(batches: Batches) -> Claim:
    found = batches.claim(5)
    assert found is not None
    return found


def test_tenants_have_their_batches_validated_in_turn_one_at_a_time(mill: Mill) -> None:
    batches = Batches(mill.client)
    a1, a2, a3, b1, c1, b2 = due(mill, "a", "a", "a", "b", "c", "b")
    first = [claim(batches) for _ in range(3)]
    assert {each.batch_id for each in first} == {a1, b1, c1}
    assert batches.claim(5) is None, "each tenant has one under way"
    for each in sorted(first, key=lambda each: each.batch_id != b1):
        batches.end(each, "failed", errors="[]", retention=DAY)
    assert {claim(batches).batch_id for _ in range(2)} == {a2, b2}
    mill.client.zadd(keys.batches_due("a"), {a2: 1})  # the process that had it died
    assert claim(batches).batch_id == a2
    assert batches.claim(5) is None and a3


def test_a_tenant_whose_batch_waits_for_redis_has_the_next_validated(mill: Mill) -> None:
    batches = Batches(mill.client)
    a1, a2 = due(mill, "a", "a")
    batches.postpone(claim(batches), 60)
    assert claim(batches).batch_id == a2 != a1


def test_no_more_batches_wait_for_their_validation_than_may(mill: Mill) -> None:
    batches = Batches(mill.client)
    for number in range(3):
        batches.create(
            f"batch_{number:020}",
            "a",
            BATCH_FIELDS,
            ("key", "content") if number == 0 else ("", ""),
            3,
        )
    with pytest.raises(TooMany) as refused:
        batches.create(new_batch_id(), "a", BATCH_FIELDS, most=3)
    assert refused.value.code == "too_many_batches"
    assert batches.create(new_batch_id(), "a", BATCH_FIELDS, ("key", "content"), 3)[0] == "same", (
        "made before"
    )
    batches.create(new_batch_id(), "b", BATCH_FIELDS, most=3)
    batches.end(claim(batches), "failed", errors="[]", retention=DAY)
    batches.create(new_batch_id(), "a", BATCH_FIELDS, most=3)


def test_batches_that_wait_in_the_list_of_an_earlier_version_are_validated_and_measured(
    mill: Mill,
) -> None:
    batches = Batches(mill.client)
    waiting, gone, sized = due(mill, "a", "a", "b")
    batches.end(claim(batches), "failed", errors="[]", retention=DAY)
    for line in mill.client.keys("pm:batches:*"):
        mill.client.delete(line)
    mill.client.hset(keys.batch(waiting), "tries", 0)
    mill.client.delete(keys.batch(gone))
    mill.client.zadd("pm:batches:due", {waiting: 5, gone: 6, "batch_nothing": 7})
    mill.client.zadd("pm:batches:sizing", {sized: 5})
    assert claim(batches).batch_id == waiting
    assert batches.claim(5) is None
    assert batches.claim_sizing(5) == (sized, "b")
    batches.end_sizing(sized, "b")
    assert mill.client.keys("pm:batches:sizing*") == []
    mill.submit(1, tenant="b", job_id=job_of(sized), batch=sized)


def test_files_are_measured_for_tenants_in_turn(mill: Mill) -> None:
    batches = Batches(mill.client)
    a1, a2, b1 = due(mill, "a", "a", "b")
    for _ in range(3):
        while each := batches.claim(5):
            batches.end(each, "queued")
    mill.client.zadd(keys.batches_sizing("a"), {a1: 1, a2: 2})
    assert {batches.claim_sizing(5) for _ in range(2)} == {(a1, "a"), (b1, "b")}
    assert batches.claim_sizing(5) == (a2, "a")
    assert batches.claim_sizing(5) is None
    for batch_id, tenant in ((a1, "a"), (a2, "a"), (b1, "b")):
        mill.submit(1, tenant=tenant, job_id=job_of(batch_id), batch=batch_id)
