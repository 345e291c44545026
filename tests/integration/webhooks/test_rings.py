"""Rings are not queued twice: without a worker the lists in Redis do not grow."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis

from common.rings import GENERATE, WEBHOOK_QUEUE, RingSender, generate_queue
from common.settings import Settings
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation, Result
from common.store.jobs import JobStore
from common.store.packing import pack
from common.types import ItemState
from tests.support.webhook_worker import CARD
from worker.local_turn import LocalTurn
from worker.ticker import Ticker
from worker.webhooks import WebhookRingSender

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture
def tickers(redis_url: str, client: redis.Redis) -> list[Ticker]:
    """Of three parts; they tick when they are told to."""
    settings = Settings.load(redis_url=redis_url)
    return [Ticker(Fleet(client), RingSender(redis_url), settings) for _ in range(3)]


@pytest.fixture
def register(client: redis.Redis) -> Callable[[], Incarnation]:
    def new() -> Incarnation:
        Fleet(client).publish(CARD, b"")
        worker = Incarnation(client, CARD, lease=60)
        worker.register({"host": "here", "pid": "1", "started_at": "0"})
        return worker

    return new


def test_without_a_webhook_worker_one_ring_waits_however_many_tick(
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    tickers: list[Ticker],
    client: redis.Redis,
) -> None:
    make_job(NOWHERE)
    run_jobs()
    for _ in range(5):
        for ticker in tickers:
            ticker._tick()
    assert client.llen(WEBHOOK_QUEUE) == 1


def test_a_webhook_worker_is_rung_again_once_the_ring_was_taken(
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    tickers: list[Ticker],
    client: redis.Redis,
) -> None:
    make_job(NOWHERE)
    run_jobs()
    tickers[0]._tick()
    client.delete(WEBHOOK_QUEUE)  # somebody took it, and died
    tickers[1]._tick()
    assert client.llen(WEBHOOK_QUEUE) == 1


def test_whoever_writes_an_event_rings_only_where_no_ring_waits(
    make_job: Callable[..., str],
    register: Callable[[], Incarnation],
    store: JobStore,
    client: redis.Redis,
) -> None:
    worker, ended, cancelled = register(), make_job(NOWHERE), make_job(NOWHERE)
    client.lpush(WEBHOOK_QUEUE, "a ring")
    answer = worker.exchange([], 1)
    assert not answer.hooked
    (run,) = answer.runs
    result = Result(
        run.job_id, run.first, run.attempt, ItemState.SUCCEEDED, 3, 3, pack({"outputs": []})
    )
    assert not worker.exchange([result], 0).hooked
    assert not store.cancel(cancelled)[1]
    assert {hook.type for hook in store.hooks(ended)} == {"job.started", "job.finished"}


def test_a_webhook_worker_whose_ring_lies_there_takes_its_turn_all_the_same(
    make_job: Callable[..., str],
    run_jobs: Callable[[], None],
    client: redis.Redis,
    redis_url: str,
) -> None:
    turns: list[int] = []
    turn = LocalTurn(lambda: turns.append(1))
    make_job(NOWHERE)
    run_jobs()
    client.lpush(WEBHOOK_QUEUE, "a ring that Celery does not hear")
    ring_sender = WebhookRingSender(redis_url, turn)
    Ticker(Fleet(client), ring_sender, Settings.load(redis_url=redis_url))._tick()
    turn.close(5)
    assert turns == [1]


def test_a_model_without_workers_is_not_rung(
    make_job: Callable[..., str],
    register: Callable[[], Incarnation],
    tickers: list[Ticker],
    client: redis.Redis,
    redis_url: str,
) -> None:
    register().release()
    for _ in range(5):
        make_job(NOWHERE)
        for ticker in tickers:
            ticker._tick()
    assert client.llen(generate_queue("echo")) == 0


def test_workers_that_take_no_rings_have_one_each_at_most(
    make_job: Callable[..., str],
    register: Callable[[], Incarnation],
    tickers: list[Ticker],
    client: redis.Redis,
) -> None:
    for _ in range(2):
        register()
    for _ in range(5):
        make_job(NOWHERE)
        client.delete("pm:tick")  # each of these ticks is one that rings
        tickers[0]._tick()
    assert client.llen(generate_queue("echo")) == 2


def test_a_ring_does_not_run_out_by_anybodys_clock(redis_url: str, client: redis.Redis) -> None:
    RingSender(redis_url).send("echo")
    (message,) = client.lrange(generate_queue("echo"), 0, -1)
    headers = json.loads(message)["headers"]
    assert (headers["task"], headers["expires"], headers["eta"]) == (GENERATE, None, None)
