"""What a batch goes through: rows before its end, the wish to cancel, its deadline, and processes
that die under it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
import pytest

from common.store.batches import job_of
from common.types import ItemState
from tests.support.batches import BatchUser, chat
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until

SLOW = {"echo_delay": 0.05, "slots": 4}  # seconds a word takes
ONE = {"max_tokens": 1}
STATES = {state.value for state in ItemState}


def ids(rows: list[dict]) -> list[str]:
    return [row["custom_id"] for row in rows]


@pytest.fixture
def mill(make_mill: Callable[[], BatchUser]) -> BatchUser:
    made = make_mill()
    made.web()
    return made


def test_a_reused_key_never_brings_the_answers_of_another_file(mill: BatchUser) -> None:
    """The first worker holds items of the first batch while that is deleted and corrected, and
    wakes after it."""
    key = {"extra_headers": {"Idempotency-Key": "nightly"}}
    frozen = mill.worker(lease=60, echo_delay=0.2, slots=4)
    first = mill.submit([chat(f"wrong{i}", f"old{i} a b c d e") for i in range(8)], **key)
    job_id = wait_until(
        lambda: (found := mill.redis.zrange("pm:tenant:acme:jobs", 0, 0)) and found[0].decode()
    )
    wait_until(lambda: mill.store.job(job_id).running > 0)
    frozen.send_signal(signal.SIGSTOP)
    assert mill.client.delete(f"/jobs/{job_id}", cast_to=httpx2.Response).status_code == 204
    second = mill.submit([chat(f"right{i}", f"new{i} a b c d e") for i in range(8)], **key)
    assert second.id != first.id
    wait_until(lambda: mill.client.batches.retrieve(second.id).status == "in_progress")
    frozen.send_signal(signal.SIGCONT)
    done = mill.wait(second)
    assert done.request_counts and (done.request_counts.completed, done.request_counts.failed) == (
        8,
        0,
    )
    choices = {
        row["custom_id"]: row["response"]["body"]["choices"]
        for row in mill.rows(done.output_file_id)
    }
    texts = {name: found[0]["message"]["content"] for name, found in choices.items()}
    assert set(texts) == {f"right{i}" for i in range(8)}
    assert all(f"new{name.removeprefix('right')}" in text for name, text in texts.items()), texts
    job = mill.store.job(job_of(second.id))
    counts = {name: getattr(job, name) for name in STATES}
    assert counts == {
        "pending": 0,
        "running": 0,
        "succeeded": 8,
        "failed": 0,
        "cancelled": 0,
        "expired": 0,
    }


def test_rows_can_be_read_before_the_batch_ends(mill: BatchUser) -> None:
    mill.worker(**SLOW)
    batch = mill.submit(
        [chat("quick", "a", **ONE), *(chat(f"slow{i}", "a b c d e f " * 20) for i in range(6))]
    )
    running = wait_until(
        lambda: found if (found := mill.client.batches.retrieve(batch.id)).output_file_id else None
    )
    assert (
        running.status == "in_progress"
        and running.request_counts
        and running.request_counts.completed >= 1
    )
    assert running.output_file_id
    assert "quick" in ids(mill.rows(running.output_file_id))
    file = mill.client.files.retrieve(running.output_file_id)
    assert (file.status, file.expires_at) == ("uploaded", None)


def test_cancelling_keeps_what_is_done_and_tells_of_the_rest(mill: BatchUser) -> None:
    mill.worker(**SLOW)
    batch = mill.submit(
        [chat("quick", "a", **ONE), *(chat(f"slow{i}", "a b c d e f " * 50) for i in range(9))]
    )
    wait_until(lambda: mill.client.batches.retrieve(batch.id).output_file_id)
    wished = mill.client.batches.cancel(batch.id)
    assert wished.status in ("cancelling", "cancelled") and wished.cancelling_at
    done = mill.wait(batch)
    assert done.status == "cancelled" and done.cancelled_at and done.cancelling_at
    assert ids(mill.rows(done.output_file_id)) == ["quick"]
    rest = mill.rows(done.error_file_id)
    assert ids(rest) == [f"slow{i}" for i in range(9)]
    assert {row["error"]["code"] for row in rest} == {"batch_cancelled"}
    assert done.request_counts and done.request_counts.to_dict() == {
        "total": 10,
        "completed": 1,
        "failed": 9,
    }


def test_a_batch_can_be_cancelled_before_and_while_it_is_validated(mill: BatchUser) -> None:
    mill.worker()
    batches = [mill.keep_busy(), mill.submit([chat("a", "x")])]
    for batch in batches:
        wished = mill.client.batches.cancel(batch.id)
        assert wished.status in ("cancelling", "cancelled") and wished.cancelling_at
    for batch in batches:
        done = mill.wait(batch)
        assert done.status == "cancelled" and done.cancelled_at and done.output_file_id is None
    assert mill.redis.zcard("pm:tenant:acme:jobs") == 0 and not mill.redis.keys("pm:stage:*")


def test_what_is_unfinished_at_the_deadline_is_told_as_expired(mill: BatchUser) -> None:
    mill.worker(**SLOW)
    batch = mill.submit(
        [chat("quick", "a", **ONE), *(chat(f"slow{i}", "a b c d e f " * 500) for i in range(9))]
    )
    wait_until(lambda: mill.client.batches.retrieve(batch.id).output_file_id)
    job_id = f"job_0{batch.id.removeprefix('batch_')}"
    # A window has minutes, which no test waits for.
    mill.store.edit(job_id, "deadline", mill.store.now() + 500)
    done = mill.wait(batch)
    assert done.status == "expired" and done.expired_at
    assert ids(mill.rows(done.output_file_id)) == ["quick"]
    rest = mill.rows(done.error_file_id)
    assert ids(rest) == [f"slow{i}" for i in range(9)]
    assert {row["error"]["code"] for row in rest} == {"batch_expired"} and {
        row["response"] for row in rest
    } == {None}


def test_a_window_that_ends_before_the_validation_expires_the_batch(mill: BatchUser) -> None:
    mill.worker()
    mill.keep_busy()
    batch = mill.submit([chat("a", "x")])
    mill.redis.hset(f"pm:batch:{batch.id}", "expires_at", 1)
    done = mill.wait(batch)
    assert done.status == "expired" and done.expired_at and done.output_file_id is None


def test_a_file_that_is_deleted_before_its_batch_was_validated_fails_it_clearly(
    mill: BatchUser,
) -> None:
    mill.worker()
    mill.keep_busy()
    batch = mill.submit([chat("a", "x")])
    mill.client.files.delete(batch.input_file_id)
    done = mill.wait(batch)
    assert done.status == "failed" and done.errors and done.errors.data
    assert batch.input_file_id in str(done.errors.data[0].message)
    assert done.errors.data[0].param == "input_file_id"


@pytest.mark.parametrize(
    ("setting", "code"), [("max_items", "too_many_tasks"), ("max_queued_items", "too_many_queued")]
)
def test_more_requests_than_may_be_fail_the_batch(
    make_mill: Callable[[], BatchUser], setting: str, code: str
) -> None:
    mill = make_mill()
    mill.web(**{setting: 5})
    mill.worker()
    assert mill.run([chat(f"{i}", "x") for i in range(5)]).status == "completed"
    done = mill.run([chat(f"{i}", "x") for i in range(6)])
    assert done.status == "failed" and done.errors and done.errors.data
    assert [error.code for error in done.errors.data] == [code]


def test_the_web_process_answers_others_while_it_validates_and_holds_no_more(
    mill: BatchUser,
) -> None:
    mill.worker()
    (web,) = psutil.Process(mill.web_process.pid).children()
    mill.run([chat("a", "x")])  # what a first batch loads is loaded
    before = web.memory_info().rss
    busy, took = mill.keep_busy(), []
    while mill.client.batches.retrieve(busy.id).status == "validating":
        began = time.monotonic()
        mill.client.models.list()
        took.append(time.monotonic() - began)
    assert len(took) > 10 and sorted(took)[len(took) // 2] < 0.1, took
    assert web.memory_info().rss - before < 30 * 2**20


def test_a_batch_that_ends_every_process_fails_in_the_end(mill: BatchUser) -> None:
    mill.worker()
    mill.keep_busy()
    batch = mill.submit([chat("a", "x")])
    mill.redis.hset(f"pm:batch:{batch.id}", "tries", 5)
    done = mill.wait(batch)
    assert done.status == "failed" and done.errors and done.errors.data
    assert done.errors.data[0].code == "validation_failed"


def test_requests_that_fail_in_the_engine_are_rows_of_the_error_file(mill: BatchUser) -> None:
    mill.worker(echo_fail_on="bomb")
    done = mill.run([chat("good", "x"), chat("bad", "a bomb")])
    (row,) = mill.rows(done.error_file_id)
    assert (row["custom_id"], row["response"], row["error"]["code"]) == (
        "bad",
        None,
        "engine_error",
    )
    assert done.status == "completed" and ids(mill.rows(done.output_file_id)) == ["good"]


def test_a_batch_survives_the_death_of_the_server_in_mid_validation(
    own_server: OwnServer, tmp_path: Path
) -> None:
    own_server.start()
    mill = BatchUser(own_server.url, tmp_path)
    try:
        mill.web()
        mill.worker(slots=64)
        batch = mill.keep_busy()
        own_server.kill()
        own_server.start()
        wait_until(lambda: mill.redis.ping())
        done = mill.wait(batch, limit=60)
        assert (
            done.status == "completed"
            and done.request_counts
            and done.request_counts.completed == 10_000
        )
        assert ids(mill.rows(done.output_file_id)) == [f"{i}" for i in range(10_000)]
    finally:
        mill.close()


def test_a_batch_survives_the_death_of_the_web_process_and_of_the_worker(
    make_mill: Callable[[], BatchUser],
) -> None:
    mill = make_mill()
    web = mill.web()
    worker = mill.worker(echo_delay=0.002, slots=64, lease=1, heartbeat=0.3)
    names = [f"line-{i}" for i in range(12_000)]
    batch = mill.submit([chat(name, f"{name} b c") for name in names])
    wait_until(lambda: mill.redis.hget(f"pm:batch:{batch.id}", "claim"))
    time.sleep(0.3)  # some thousand lines in
    mill.kill(web)
    assert not mill.redis.hget(f"pm:batch:{batch.id}", "queued_at"), "it died in mid-validation"
    mill.web()
    assert mill.client.batches.retrieve(batch.id).status == "validating"
    wait_until(
        lambda: (
            (counts := mill.client.batches.retrieve(batch.id).request_counts)
            and counts.completed > 500
        )
    )
    mill.kill(worker)
    mill.worker(slots=64)
    done = mill.wait(batch, limit=60)
    assert done.status == "completed" and int(mill.redis.zcard("pm:tenant:acme:jobs")) == 1
    assert ids(mill.rows(done.output_file_id)) == names
    assert done.error_file_id is None


def test_unknown_fields_of_rows_are_ignored_and_named_where_that_is_chosen(
    make_mill: Callable[[], BatchUser],
) -> None:
    mill = make_mill()
    mill.web(unknown_fields="ignore")
    mill.worker()
    done = mill.run([chat("a", "one", cache_prompt=True), chat("b", "one", max_token=3)])
    (good,), (bad,) = mill.rows(done.output_file_id), mill.rows(done.error_file_id)
    assert good["response"]["ignored_params"] == ["cache_prompt"]
    assert (bad["custom_id"], bad["response"]["body"]["error"]["param"]) == ("b", "max_token")
