"""Tokens of many streamed items: each reaches a client once, wherever it goes on from."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from common.store import keys
from common.store.connection import connect
from tests.support.web import Web, Worker

ROWS = 150  # more than one write takes


def blocks(web: Web, job: str, after: str = "0") -> list[dict[str, str]]:
    """The fields of each event of a stream to its end, as a client that was cut off reads it."""
    answer = web.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": after}, buffered=False)
    text = b"".join(answer.iter_encoded()).decode()
    answer.close()
    parts = (block.splitlines() for block in text.split("\n\n"))
    found = [dict(line.split(": ", 1) for line in lines if line[0] != ":") for lines in parts]
    return [fields for fields in found if "event" in fields]


def told(found: list[dict[str, str]]) -> dict[int, str]:
    """The text that each item's tokens add up to, each of which begins where the last ended."""
    texts: dict[int, str] = defaultdict(str)
    counts: dict[int, int] = defaultdict(int)
    for fields in found:
        if fields["event"] == "item.delta":
            delta: dict[str, Any] = json.loads(fields["data"])
            index = delta["index"]
            assert delta["at"] == counts[index], "a token was left out, or came twice"
            texts[index] += delta["text"]
            counts[index] += delta["tokens"]
    return dict(texts)


def streamed(web: Web, rows: int) -> str:
    items = [{"prompt": f"row {index}", "stream": True} for index in range(rows)]
    return str(web.post("/v1/jobs", json={"model": web.card.id, "items": items}).json["id"])


def say(worker: Worker, job: str, rows: range, at: int, *tokens: str, attempt: int = 1) -> None:
    entry = json.dumps([[0, at, list(tokens)]])
    worker.incarnation.stream([(job, index, attempt, entry) for index in rows])


def test_all_tokens_come_once_and_a_client_goes_on_behind_any_event(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api.events.LONGEST", 0.3)  # seconds until a client is cut off
    job, worker = streamed(web, ROWS), web.worker()
    taken = worker.take(ROWS)
    say(worker, job, range(ROWS), 0, "one", " two")
    say(worker, job, range(ROWS), 2, " three")
    whole = blocks(web, job)
    assert told(whole) == dict.fromkeys(range(ROWS), "one two three")
    assert [fields["event"] for fields in whole] == ["item.delta"] * 2 * ROWS + ["job"]
    for last in (0, 63, 64, 149, 150, 200):
        rest = told(whole[: last + 1])
        for fields in blocks(web, job, whole[last]["id"]):
            if fields["event"] == "item.delta":
                delta = json.loads(fields["data"])
                rest[delta["index"]] = rest.get(delta["index"], "") + delta["text"]
        assert rest == told(whole)
    worker.finish(taken)


def test_one_message_tells_of_all_items_of_a_job(web: Web) -> None:
    first, second, worker = streamed(web, 3), streamed(web, 2), web.worker()
    taken = worker.take(5)
    with connect(web.services.settings.redis_url) as client, client.pubsub() as channel:
        channel.subscribe(keys.SAID)
        assert channel.get_message(timeout=5)
        entry = '[[0,0,["a\\nb"]]]'
        worker.incarnation.stream(
            [(first, index, 1, entry) for index in (0, 2)]
            + [(second, 1, 1, entry), (second, 0, 7, entry), ("job_gone", 0, 1, entry)]
        )
        messages = [channel.get_message(timeout=5) for _ in range(2)]
        assert [message and message["data"].decode() for message in messages] == [
            f"{first}\n0 {entry}\n2 {entry}",
            f"{second}\n1 {entry}",
        ]
        assert channel.get_message(timeout=0.2) is None
    assert [index for index, _ in web.services.store.said(first)] == [0, 2]
    assert [index for index, _ in web.services.store.said(second)] == [1], "not of another attempt"
    assert web.services.redis.hget(keys.job(first), "streamed") == b"1"
    assert not web.services.redis.exists(keys.job("job_gone", "streams"))
    worker.finish(taken)
