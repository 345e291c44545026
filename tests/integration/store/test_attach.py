"""Submitting: a job comes to be whole, once, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.errors import NotFound
from common.params import SamplingParams
from common.store import keys
from common.store.job_spec import JobSpec
from common.store.jobs import new_job_id
from common.store.rows import complete_params
from common.store.upload_stage import CHUNK
from tests.support.store import Mill


def test_an_attached_job_is_queued_with_every_item_pending(mill: Mill) -> None:
    job_id = mill.submit(3 * CHUNK + 5)
    assert mill.store.job(job_id).status == "queued"
    assert mill.counts(job_id) == {"pending": 3 * CHUNK + 5}


def test_items_are_read_back_across_chunk_borders(mill: Mill) -> None:
    job_id = mill.submit(2 * CHUNK + 10)
    rows = mill.store.rows(job_id, CHUNK - 2, CHUNK + 4)
    assert [row["index"] for row in rows] == list(range(CHUNK - 2, 2 * CHUNK + 2))
    assert [row["custom_id"] for row in rows] == [f"c{i}" for i in range(CHUNK - 2, 2 * CHUNK + 2)]
    assert rows[0]["params"]["max_tokens"] == 7
    assert mill.store.rows(job_id, 2 * CHUNK + 10, 5) == []


def test_attaching_again_after_a_lost_reply_makes_no_second_job(mill: Mill) -> None:
    stage = mill.store.stage()
    stage.add({"prompt": "x"})
    stage.close()
    job_id = new_job_id()
    fields = {
        "tenant": "t",
        "model": "m",
        "total": 1,
        "cost": 1,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
        "retention": 1,
        "spec": "{}",
    }
    first = mill.store.attach(stage, fields, job_id=job_id)
    again = mill.store.attach(stage, fields, job_id=job_id)
    assert (first.outcome, again.outcome) == ("new", "new")
    assert first.job_id == again.job_id
    assert mill.client.zcard("pm:tenant:t:jobs") == 1


def test_an_idempotency_key_with_the_same_content_is_the_same_job(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job_id = mill.submit(2, idempotency=("key", "content"))
    before = key_snapshot()
    assert mill.submit(2, idempotency=("key", "content")) == job_id
    assert key_snapshot() == before, "the second upload left something behind"


def test_an_idempotency_key_with_other_content_is_a_conflict(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    mill.submit(2, idempotency=("key", "content"))
    before = key_snapshot()
    stage = mill.store.stage()
    stage.add({"prompt": "x"})
    stage.close()
    answer = mill.store.attach(
        stage,
        {"tenant": "t", "model": "m", "total": 1},
        job_id=new_job_id(),
        idempotency=("key", "other"),
    )
    assert answer.outcome == "conflict"
    assert key_snapshot() == before


def test_of_two_requests_with_one_key_that_run_at_once_the_first_to_end_makes_the_job(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    slow = mill.store.stage()
    slow.add({"prompt": "x"})
    # All of it while the slow one is still being read.
    made = mill.submit(1, idempotency=("key", "content"))
    before = key_snapshot()
    slow.close()
    fields = {"tenant": "t", "model": "m", "total": 1, "cost": 1}
    answer = mill.store.attach(slow, fields, job_id=new_job_id(), idempotency=("key", "content"))
    assert (answer.outcome, answer.job_id) == ("same", made)
    assert key_snapshot() == before


def test_a_request_that_crashed_before_its_end_leaves_its_key_free(mill: Mill) -> None:
    crashed = mill.store.stage()
    crashed.add({"prompt": "x"})
    crashed.close()
    job_id = mill.submit(1, idempotency=("key", "content"))
    assert mill.counts(job_id) == {"pending": 1}
    assert 0 < mill.client.ttl(f"pm:stage:{crashed.id}:in") <= 3600, (
        "what it had staged goes by itself"
    )


def test_an_idempotency_key_is_kept_for_a_day_whatever_becomes_of_its_job(mill: Mill) -> None:
    job_id = mill.submit(1, idempotency=("key", "content"))
    mill.store.delete(job_id)
    assert 86_390 < mill.client.ttl("pm:idem:t:key") <= 86_400
    assert mill.submit(1, idempotency=("key", "content")) == job_id


def test_an_idempotency_key_lives_as_long_as_its_job(mill: Mill) -> None:
    job_id = mill.submit(1, idempotency=("key", "content"))
    assert mill.client.ttl("pm:idem:t:key") == -1
    two_days_ago = mill.store.now() - 2 * 86_400_000
    mill.client.zadd(keys.job(job_id, "idem"), {"pm:idem:t:key": two_days_ago})
    assert mill.submit(1, idempotency=("key", "content")) == job_id
    mill.store.delete(job_id)
    assert mill.submit(1, idempotency=("key", "content")) != job_id, "it is free then"


def test_a_key_that_another_job_has_by_now_stays_when_the_first_goes(mill: Mill) -> None:
    """As where the record of an earlier version, which lives for a day, ended before its job."""
    first = mill.submit(1, idempotency=("key", "content"))
    mill.client.delete("pm:idem:t:key")
    second = mill.submit(1, idempotency=("key", "other"))
    mill.store.delete(first)
    assert mill.client.ttl("pm:idem:t:key") == -1
    assert mill.submit(1, idempotency=("key", "other")) == second


def test_a_job_lists_all_its_retries_newest_first(mill: Mill) -> None:
    source = mill.submit(1)
    a, b, c = (mill.submit(1, retry_of=source) for _ in range(3))
    job = mill.store.job(source)
    assert (job.retries, job.retried_by) == ((c, b, a), c)
    mill.store.delete(b)
    mill.store.delete(c)
    assert (mill.store.job(source).retries, mill.store.job(source).retried_by) == ((a,), a)
    # Parts of schema 3 and before note the last one only.
    mill.client.hset(keys.job(source), "retried_by", "job_0x")
    assert mill.store.job(source).retries == ("job_0x", a)
    mill.client.hset(keys.job(source), "retried_by", a)
    mill.store.delete(a)
    assert (mill.store.job(source).retries, mill.store.job(source).retried_by) == ((), None)
    mill.store.delete(source)
    mill.submit(1, retry_of=source)
    assert not mill.client.exists(keys.job(source))


def test_a_key_whose_job_was_deleted_is_free_for_other_content(mill: Mill) -> None:
    first = mill.submit(1, idempotency=("key", "content"))
    mill.store.delete(first)
    second = mill.submit(1, idempotency=("key", "other"))
    assert second != first and mill.counts(second) == {"pending": 1}
    assert mill.submit(1, idempotency=("key", "other")) == second


def test_another_tenants_idempotency_key_is_another_job(mill: Mill) -> None:
    assert mill.submit(1, "a", idempotency=("key", "content")) != mill.submit(
        1, "b", idempotency=("key", "content")
    )


def test_a_stage_that_ran_out_of_time_makes_no_job(mill: Mill) -> None:
    stage = mill.store.stage()
    stage.add({"prompt": "x"})
    stage.close()
    stage.discard()
    assert (
        mill.store.attach(
            stage, {"tenant": "t", "model": "m", "total": 1}, job_id=new_job_id()
        ).outcome
        == "lost"
    )


def test_a_staged_upload_has_a_time_to_live_until_it_is_attached(mill: Mill) -> None:
    stage = mill.store.stage()
    stage.add({"prompt": "x"})
    stage.close()
    assert 0 < mill.client.ttl(f"pm:stage:{stage.id}:in") <= 3600
    job_id = mill.submit(1)
    assert mill.client.ttl(f"pm:job:{job_id}:in") == -1


def test_another_tenants_job_is_not_found(mill: Mill) -> None:
    job_id = mill.submit(1, "a")
    assert mill.store.job(job_id, "a")
    with pytest.raises(NotFound):
        mill.store.job(job_id, "b")


def test_jobs_are_listed_newest_first_and_paged(mill: Mill) -> None:
    ids = [mill.submit(1) for _ in range(5)]
    mill.submit(1, "other")
    created = {row.id: row.created_at for row in mill.store.jobs("t", None, 10)[0]}
    assert set(created) == set(ids)
    seen, after = [], None
    while True:
        rows, more = mill.store.jobs("t", after, 2)
        seen += [row.id for row in rows]
        if not more:
            break
        after = seen[-1]
    assert sorted(seen) == sorted(ids)
    assert [created[job_id] for job_id in seen] == sorted(created.values(), reverse=True)


def test_rows_are_read_in_one_round_trip_however_many(mill: Mill) -> None:
    job_id = mill.submit(3 * CHUNK)
    mill.store.rows(job_id, 0, 1)  # loads the script
    spec: JobSpec = {"model": "m", "params": {}}
    before = mill.client.info("stats")["total_reads_processed"]
    assert len(mill.store.rows(job_id, 10, 2 * CHUNK, spec)) == 2 * CHUNK
    reads = mill.client.info("stats")["total_reads_processed"] - before
    assert reads <= 2, "the rows, and the question itself"


@pytest.mark.parametrize(
    ("job", "own"),
    [
        ({}, {}),
        ({"temperature": 0.0, "seed": 3}, {"seed": 4}),
        ({"stop": ["a", "b"], "logit_bias": {"5": 1.5}}, {"stop": ["c"], "top_p": 0.5}),
        ({"max_tokens": 9, "bad_words": ["x"]}, {"logit_bias": {"7": -100.0}, "max_tokens": 8}),
    ],
)
def test_the_params_of_a_row_are_what_the_model_makes_of_them(
    job: dict[str, Any], own: dict[str, Any]
) -> None:
    def kept(params: dict[str, Any]) -> dict[str, Any]:
        return SamplingParams.model_validate(params).model_dump(mode="json", exclude_unset=True)

    made = SamplingParams.model_validate({**kept(job), **kept(own)}).model_dump(
        mode="json", exclude={"seed"}
    )
    assert complete_params({"params": kept(job)}, {"params": kept(own)} if own else {}) == made
