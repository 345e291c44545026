"""Batches before they are jobs: one validator at a time, whoever dies; and what goes with their job, or without one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from common import keys
from common.batches import Batches, job_of, new_batch_id
from common.deliveries import Deliveries
from common.errors import NotFound
from tests.integration.store.conftest import DAY, Mill, done

BATCH = "batch_" + "ab" * 10
FIELDS = {"file": "file-1", "webhook": json.dumps({"url": "http://127.0.0.1:9/"})}


@pytest.fixture
def batches(mill: Mill) -> Batches:
    made = Batches(mill.client)
    made.create(BATCH, "t", FIELDS)
    return made


def lapse(mill: Mill, batch_id: str = BATCH) -> None:
    """Let the claim on a batch run out without waiting for it."""
    mill.client.zadd(keys.BATCHES_DUE, {batch_id: 1})


def job(mill: Mill, **fields: object) -> str:
    return mill.submit(2, job_id=job_of(BATCH), batch=BATCH, **fields)


def deliveries(mill: Mill) -> Deliveries:
    return Deliveries(mill.client, lease=5, attempts=5, backoff=1)


def test_one_validator_has_a_batch_until_its_claim_runs_out(mill: Mill, batches: Batches) -> None:
    first = batches.claim(5)
    assert first is not None and (first.batch_id, first.tries) == (BATCH, 1)
    assert batches.claim(5) is None
    assert batches.hold(first, 5) == "held"
    lapse(mill)
    second = batches.claim(5)
    assert second is not None and second.tries == 2
    assert batches.hold(first, 5) == "lost"
    assert not batches.end(first, "failed", retention=DAY), "what was claimed by another cannot be ended"
    assert batches.end(second, "failed", errors="[]", retention=DAY)
    assert "failed_at" in batches.get(BATCH)
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
    assert batches.create(BATCH, "t", {"file": "file-2"}) == ("new", BATCH)
    assert batches.get(BATCH, "t")["file"] == "file-1"


def test_a_key_finds_the_batch_it_made_as_long_as_that_is_there(mill: Mill, batches: Batches) -> None:
    first, second, third = (new_batch_id() for _ in range(3))
    assert batches.create(first, "t", FIELDS, ("key", "content")) == ("new", first)
    assert batches.create(first, "t", FIELDS, ("key", "content")) == ("new", first), "its answer was lost"
    assert batches.create(second, "t", FIELDS, ("key", "content")) == ("same", first)
    assert batches.create(second, "t", FIELDS, ("key", "other")) == ("conflict", first)
    assert batches.create(second, "u", FIELDS, ("key", "other")) == ("new", second), "another tenant's key"
    assert 86_390 < mill.client.ttl("pm:batchidem:t:key") <= 86_400
    mill.store.delete(mill.submit(1, job_id=job_of(first), batch=first))
    assert batches.create(third, "t", FIELDS, ("key", "content")) == ("same", first), "a late repetition"
    assert batches.create(third, "t", FIELDS, ("key", "other")) == ("new", third)
    assert batches.create(first, "t", FIELDS, ("key", "other")) == ("same", third)


def test_a_validator_that_was_frozen_makes_no_job_of_a_deleted_batch(mill: Mill, batches: Batches) -> None:
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
    assert (found["sized"], found["sized_output"]) == ("7", "70")
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
    assert not [name for name in key_snapshot() if BATCH in name or name.startswith(("pm:hook", "pm:batch"))]


def test_the_end_of_a_batchs_job_is_told_as_the_batchs(mill: Mill, batches: Batches) -> None:
    job(mill, hooks="job.finished")
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 0)
    (event,) = deliveries(mill).due()
    assert (event.owner, event.type, event.data) == (job_of(BATCH), "batch.completed", {"id": BATCH})


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
    assert not [name for name in key_snapshot() if BATCH in name or name.startswith(("pm:hook", "pm:batch", "pm:job"))]
    assert list(batches.walk("t")) == []


def test_batches_are_walked_in_order_over_pages(mill: Mill, batches: Batches) -> None:
    names = [f"batch_{i:020}" for i in range(5)]
    for at, name in enumerate(names):
        batches.create(name, "many", {"file": "f"})
        mill.client.zadd(keys.tenant_batches("many"), {name: at})
    assert [each["id"] for each in batches.walk("many", page=2)] == names[::-1]
    assert [each["id"] for each in batches.walk("many", newest_first=False, start=2, page=2)] == names[2:]
