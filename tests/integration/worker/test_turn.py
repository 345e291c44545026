"""After an error in a turn the worker continues with its items or hands them back. Leases are so
long here that no other worker would get them."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from common.rings import RingSender
from common.settings import Settings
from common.store import keys
from common.store.connection import connect
from common.store.incarnation import Incarnation
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from worker import exchange as exchange_module
from worker.exchange import ItemExchange
from worker.heartbeat import Heartbeat
from worker.item_reader import ItemReader
from worker.model_server import ModelServer
from worker.models import open_model

LEASE = 120.0  # seconds

# Where a turn may fail: (owner of the function, its name).
PLACES: dict[str, tuple[Any, str]] = {
    "exchange": (Incarnation, "exchange"),
    "read": (ItemReader, "read"),
    "progress": (Incarnation, "progress"),
    "result": (exchange_module, "result"),
    "keep": (ItemExchange, "_keep"),
    "after": (ItemExchange, "_after"),
}


class Failing:
    """A function that fails at some of its calls, before or after it did its work."""

    def __init__(
        self,
        function: Callable[..., Any],
        fails: Callable[[int], bool],
        error: Exception,
        *,
        after: bool,
    ):
        self._function = function
        self._fails = fails
        self._error = error
        self._after = after
        self.calls = 0

    def __get__(self, owner: Any, _type: Any = None) -> Callable[..., Any]:
        return lambda *args, **kwargs: self(owner, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        fails = self._fails(self.calls)
        if fails and not self._after:
            raise self._error
        answer = self._function(*args, **kwargs)
        if fails:
            raise self._error
        return answer


@pytest.fixture
def model_server(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """With its heartbeat, which takes the turns; no Celery."""
    settings = Settings.load(
        redis_url=redis_url, model="echo", lease=LEASE, heartbeat=0.1, interactive_slots=0
    )
    client = connect(redis_url)
    monkeypatch.setattr(exchange_module, "RETRY_PAUSE", 0.05)
    made = ModelServer(
        client, settings, open_model("echo", slots=4, echo_delay=0.002), RingSender(redis_url)
    )
    made.start()
    made.join()
    heart = Heartbeat(client, [made], settings)
    heart.start()
    yield made
    heart.stop()
    made.stop()


def finish(queue: Queue, job_id: str) -> list[int]:
    queue.wait_status(job_id, "completed", 20)
    return queue.check_all_succeeded_once(job_id)


REFUSED = redis.ResponseError("NOPERM")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", [*PLACES, "refused exchange", "refused read"])
def test_after_an_exception_anywhere_in_the_turn_every_item_is_run(
    place: str,
    after: bool,
    model_server: ModelServer,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, name = PLACES[place.removeprefix("refused ")]
    error = REFUSED if place.startswith("refused") else ValueError("a bug")
    failing = Failing(getattr(owner, name), lambda call: call == 3, error, after=after)
    monkeypatch.setattr(owner, name, failing)
    finish(queue, queue.submit(20))


def test_a_turn_that_fails_at_random_loses_and_doubles_nothing(
    model_server: ModelServer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    left = 20  # failures; then all goes well

    def fails(_call: int) -> bool:
        nonlocal left
        struck = left > 0 and chance.random() < 0.1
        left -= struck
        return struck

    for place, (owner, name) in PLACES.items():
        error = REFUSED if place in ("exchange", "read", "progress") else ValueError("a bug")
        monkeypatch.setattr(
            owner, name, Failing(getattr(owner, name), fails, error, after=chance.random() < 0.5)
        )
    jobs = [queue.submit(1) for _ in range(20)] + [queue.submit(60)]  # one-item jobs, too
    for job_id in jobs:
        queue.wait_status(job_id, "completed", 60)
    # The server has the last results a moment before the worker has its answer.
    wait_until(
        lambda: not model_server.incarnation._held,
        lambda: f"still held: {model_server.incarnation._held}",
    )
    assert (
        sum(queue.count(job_id, "succeeded") + queue.count(job_id, "failed") for job_id in jobs)
        == 80
    )


def test_an_item_on_which_the_turn_always_fails_is_found_and_its_neighbours_are_run(
    model_server: ModelServer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = model_server.engine.submit

    def refuse(request: Any) -> None:
        if "poison" in request.prompt:
            raise ValueError("a bug")
        submit(request)

    monkeypatch.setattr(model_server.engine, "submit", refuse)
    job_id = queue.submit(12, special={5: "poison"})
    queue.wait_status(job_id, "completed", 30)
    rows = queue.store.rows(job_id, 0, 12)
    assert [row["index"] for row in rows if row["status"] != "succeeded"] == [5]
    assert rows[5]["error"] and rows[5]["error"]["code"] == "worker_lost"


def test_an_exchange_without_a_reply_is_sent_again_as_it_was(
    model_server: ModelServer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that finish meanwhile wait for the next: the server answers a call that it knows as
    it did before."""
    bound, first = model_server.incarnation._scripts._bound, model_server.incarnation.id
    lost = redis.TimeoutError("the reply was lost")
    lossy = Failing(bound["exchange"], lambda call: call % 2 == 0, lost, after=True)
    monkeypatch.setitem(bound, "exchange", lossy)
    short, long = queue.submit(20, max_tokens=5), queue.submit(20, max_tokens=40, tenant="other")
    assert finish(queue, short) == finish(queue, long) == [1] * 20
    assert lossy.calls > 4 and model_server.incarnation.id == first, (
        "nothing was handed back for it"
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_turn_that_ended_with_items_in_hand_is_taken_up_again(
    model_server: ModelServer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    step = ModelServer._step

    def dies_once(self: ModelServer) -> bool:
        going = step(self)
        if self._exchange.held.busy and not ended.is_set():
            ended.set()
            raise SystemExit
        return going

    monkeypatch.setattr(ModelServer, "_step", dies_once)
    job_id = queue.submit(20)
    assert ended.wait(10)
    finish(queue, job_id)


def test_an_item_from_a_newer_web_tier_fails_alone_and_names_what_is_new(
    model_server: ModelServer, queue: Queue
) -> None:
    stage = queue.store.stage()
    good = {"prompt": "a b", "params": {"ignore_eos": True}}
    items: list[Any] = [  # no `StoredItem`: the fields of a newer version
        good,
        {**good, "images": ["x"]},
        {**good, "params": {"beams": 4}},
        {"audio": "x"},
        good,
    ]
    for item in items:
        stage.add(item)
    stage.close()
    job_id = queue.submit(3)
    queue.store.append(job_id, stage, tokens=50, n_max=1, most_items=100)
    other = queue.submit(2)
    client = queue.store.client
    client.hset(keys.job(other, "in"), "0", b"zstd:not yet known")
    for each in (job_id, other):
        queue.wait_status(each, "completed")
    rows = queue.store.rows(job_id, 0, 8)
    assert [row["status"] for row in rows] == ["succeeded"] * 4 + ["failed"] * 3 + ["succeeded"]
    errors = [row["error"] for row in rows[4:7] if row["error"]]
    assert len(errors) == 3
    assert {error["code"] for error in errors} == {"unreadable"}
    assert [
        word in error["message"]
        for word, error in zip(("images", "params.beams", "audio"), errors, strict=True)
    ]
    assert queue.count(other, "failed") == 2


# With a worker as it is deployed


def test_a_worker_that_may_run_no_script_for_a_while_goes_on_after_it(
    workers: Workers, queue: Queue
) -> None:
    workers.start(echo_delay=0.02, slots=4, lease=LEASE, heartbeat=0.2)
    job_id = queue.submit(60)
    wait_until(lambda: queue.count(job_id, "succeeded") > 4, "nothing ran")
    client = queue.store.client
    client.execute_command("ACL", "SETUSER", "default", "-evalsha")
    try:
        threading.Event().wait(3)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+evalsha")
    assert finish(queue, job_id) == [1] * 60


@pytest.mark.parametrize("lost", ["claims", "results"])
def test_a_live_worker_hands_back_what_it_held_when_the_server_lost_its_tail(
    own_server: OwnServer, tmp_path: Path, lost: str
) -> None:
    own_server.start()
    workers = Workers(own_server.url, tmp_path)
    try:
        worker = workers.start(echo_delay=0.05, slots=4, lease=LEASE, heartbeat=0.2)
        queue = Queue(own_server.url)
        job_id = queue.submit(20)
        if lost == "results":
            wait_until(lambda: queue.count(job_id, "running") > 0, "nothing was claimed")
        before = own_server.log.stat().st_size
        wait_until(lambda: queue.count(job_id, "succeeded") > 6, "nothing ran")
        own_server.kill()
        os.truncate(own_server.log, before)
        own_server.start()
        finish(queue, job_id)
        assert "starting over" in workers.log(worker)
    finally:
        workers.stop_all()
