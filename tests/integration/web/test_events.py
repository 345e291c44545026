"""The stream of a job's events: nothing missed, nothing twice, wherever one goes on from."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.web import Web


@dataclass
class Event:
    id: int | None
    kind: str
    data: dict


def events(web: Web, job: str, **options: Any) -> Generator[Event, None, None]:
    """The stream's events as they come; comments and `retry` left out."""
    path = f"/v1/jobs/{job}/events{options.pop('query', '')}"
    answer = web.get(path, buffered=False, **options)
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "text/event-stream"
    try:
        for piece in answer.iter_encoded():
            fields = dict(
                line.split(": ", 1)
                for line in piece.decode().splitlines()
                if line and line[0] != ":"
            )
            if "event" in fields:
                yield Event(
                    int(fields["id"]) if "id" in fields else None,
                    fields["event"],
                    json.loads(fields["data"]),
                )
    finally:
        answer.close()


@pytest.fixture
def later() -> Iterator[Callable[..., None]]:
    """Do something while the test reads."""
    timers: list[threading.Timer] = []

    def start(action: Callable[[], Any], seconds: float = 0.2) -> None:
        timers.append(threading.Timer(seconds, action))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def test_a_finished_job_tells_each_item_once_and_ends(web: Web) -> None:
    job = web.submit(*"abc")
    web.worker().run()
    found = list(events(web, job))
    assert [event.kind for event in found] == ["item.finished"] * 3 + ["job.finished"]
    assert [event.id for event in found] == [1, 2, 3, None]
    assert [event.data["index"] for event in found[:3]] == [0, 1, 2]
    assert found[-1].data["status"] == "completed"


def test_items_come_in_the_order_they_finished(web: Web) -> None:
    job = web.submit(*["a"] * 60)
    worker = web.worker()
    first, second = worker.take(40), worker.take(20)
    worker.finish(second)
    worker.finish(first)
    indices = [event.data["index"] for event in events(web, job) if event.kind == "item.finished"]
    assert indices == [*range(40, 60), *range(40)]


def test_a_stream_follows_the_job_to_its_end(web: Web, later: Callable[..., None]) -> None:
    job = web.submit(*"ab")
    worker = web.worker()
    later(lambda: worker.run(1), 0.2)
    later(lambda: worker.run(1), 0.6)
    kinds = [event.kind for event in events(web, job)]
    assert kinds[0] == "job"
    assert kinds.count("item.finished") == 2
    assert kinds[-1] == "job.finished"


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_reader_goes_on_where_it_was(web: Web, way: str) -> None:
    job = web.submit(*"abcd")
    web.worker().run()
    options = {"headers": {"Last-Event-ID": "3"}} if way == "header" else {"query": "?after=3"}
    found = list(events(web, job, **options))
    assert [event.id for event in found] == [4, None]


def test_what_finishes_between_two_streams_is_not_missed(web: Web) -> None:
    job = web.submit(*"abcd")
    worker = web.worker()
    worker.run(1)
    stream = events(web, job)
    last = next(event.id for event in stream if event.kind == "item.finished")
    stream.close()
    worker.run(3)
    seen = [
        event.data["index"]
        for event in events(web, job, headers={"Last-Event-ID": str(last)})
        if event.id
    ]
    assert seen == [1, 2, 3]


def test_a_cancel_ends_the_stream(web: Web, later: Callable[..., None]) -> None:
    job = web.submit("a")
    later(lambda: web.services.store.cancel(job))
    assert [event.data["status"] for event in events(web, job)][-1] == "cancelled"


def test_a_deleted_job_ends_the_stream(web: Web, later: Callable[..., None]) -> None:
    job = web.submit("a")
    later(lambda: web.services.store.delete(job))
    assert [event.kind for event in events(web, job)] == ["job"]


def test_a_server_that_stops_ends_the_stream(web: Web, later: Callable[..., None]) -> None:
    job = web.submit("a")
    later(web.services.watches.close)
    assert [event.kind for event in events(web, job)] == ["job"]


def test_a_silent_stream_says_that_it_is_there(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.wire.sse.HEARTBEAT", 0.05)
    answer = web.get(f"/v1/jobs/{web.submit('a')}/events", buffered=False)
    assert any(
        piece.startswith(b":") for _, piece in zip(range(5), answer.iter_encoded(), strict=False)
    )
    answer.close()


def test_a_stream_ends_after_its_time_even_if_the_job_goes_on(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api.events.LONGEST", 0.3)
    assert [event.kind for event in events(web, web.submit("a"))] == ["job"]


@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 30])
def test_a_cursor_that_is_none_is_refused(web: Web, cursor: str) -> None:
    assert (
        web.get(f"/v1/jobs/{web.submit()}/events", headers={"Last-Event-ID": cursor}).status_code
        == 422
    )


def test_events_link_to_where_their_reader_reached_the_server(web: Web) -> None:
    job = web.submit("a")
    web.worker().run()
    (*_, last) = events(web, job, base_url="https://mill.example")
    assert last.data["links"]["self"] == f"https://mill.example/v1/jobs/{job}"


def test_streams_of_one_job_share_what_is_read(web: Web) -> None:
    job = web.submit(*["a"] * 100)
    web.worker().run(100)
    list(events(web, job))

    def commands(streams: int) -> int:
        before = web.services.redis.info("commandstats")["cmdstat_hmget"]["calls"]
        feed = web.services.feeds.of(job)  # somebody reads on while the others come and go
        for _ in range(streams):
            assert len(list(events(web, job))) == 101
        del feed
        return web.services.redis.info("commandstats")["cmdstat_hmget"]["calls"] - before

    one, twenty = commands(1), commands(20)
    assert twenty - one <= 20 * 2  # each still shows its key


def test_one_reader_of_redis_serves_all_streams(web: Web) -> None:
    job = web.submit("a")
    streams = [events(web, job) for _ in range(10)]
    for stream in streams:
        next(stream)
    subscribers = dict(web.services.redis.pubsub_numsub("pm:changes"))
    assert subscribers == {b"pm:changes": 1}
    for stream in streams:
        stream.close()


def test_more_streams_than_one_process_carries_are_told_to_come_back(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.services.watch.MOST_STREAMS", 1)
    job = web.submit("a")
    stream = events(web, job)
    next(stream)
    assert web.get(f"/v1/jobs/{job}?wait=1").status_code == 503
    with web.services.watches.open(job, chat=True):
        pass  # for chats there is room
    stream.close()
    assert web.get(f"/v1/jobs/{job}?wait=0.1").status_code == 200


def test_the_query_of_events_is_checked_beside_a_header_and_its_bounds_are_those_that_refuse(
    web: Web,
) -> None:
    job = f"/v1/jobs/{web.submit('a')}/events"
    web.worker().run()
    assert web.get(f"{job}?after=true", headers={"Last-Event-ID": "0"}).status_code == 422
    assert web.get(f"{job}?after={2**31 - 1}", headers={"Last-Event-ID": ""}).status_code == 200
