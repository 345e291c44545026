"""Interactive requests when workers die, are busy, or are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from common.store.jobs import JobStore
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Queue

WORDS = " ".join(f"w{n}" for n in range(60))


@pytest.fixture(params=[20])
def own_stack(empty_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """It waits so many seconds for a worker."""
    started = Stack(empty_url, tmp_path, worker_wait=request.param)
    try:
        yield started
    finally:
        started.close()


@pytest.mark.parametrize("own_stack", [2], indirect=True)
def test_no_worker_is_a_503_that_says_when_to_try_again(own_stack: Stack) -> None:
    worker = own_stack.workers.start()
    worker.kill()
    worker.wait(10)
    wait_until(lambda: own_stack.held() == 0, "it is still there")
    with pytest.raises(openai.InternalServerError, match="no worker serves echo") as raised:
        own_stack.client.completions.create(model="echo", prompt="a")
    assert raised.value.status_code == 503 and raised.value.code == "no_worker"
    assert int(raised.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize("told", [3, 42], ids=["without a checkpoint", "with a checkpoint"])
def test_a_killed_worker_in_mid_stream_repeats_and_loses_nothing(
    own_stack: Stack, told: int
) -> None:
    """The other worker takes the item over when the lease of the first has run out."""
    first = own_stack.workers.start(echo_delay=0.15, lease=1, heartbeat=0.2)
    stream = own_stack.client.completions.create(
        model="echo", prompt=WORDS, stream=True, temperature=0, max_tokens=60, timeout=60
    )
    said, ended, struck_at = "", [], 0  # words
    for chunk in stream:
        said += chunk.choices[0].text
        ended += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
        if not struck_at and len(said.split()) >= told:
            struck_at = len(said.split())
            first.kill()
            own_stack.workers.start(wait=False, echo_delay=0.02, lease=1, heartbeat=0.2)
    assert first.wait(10) == -9 and told <= struck_at < 60, "it was killed in mid-stream"
    assert said == WORDS
    assert ended == ["length"]


def test_interactive_work_finds_a_slot_while_a_batch_has_the_rest(own_stack: Stack) -> None:
    own_stack.workers.start(echo_delay=0.5, slots=8, interactive_slots=None)
    queue = Queue(own_stack.workers.url)
    job = queue.submit(40, max_tokens=10)  # five seconds an item
    wait_until(lambda: own_stack.held() == 7, "an eighth of the slots is kept")
    found = own_stack.client.completions.create(
        model="echo", prompt="a b", temperature=0, timeout=10
    )
    assert found.choices[0].text == "a b"
    assert queue.count(job, "succeeded") == 0
    JobStore(own_stack.redis).cancel(job)


def test_a_native_job_tells_its_streamed_items_token_by_token_and_goes_on_where_a_reader_was(
    own_stack: Stack,
) -> None:
    import requests

    own_stack.workers.start(echo_delay=0.05)
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {own_stack.key}"
    url = f"http://127.0.0.1:{own_stack.port}/v1/jobs"
    items: Any = [{"prompt": WORDS, "stream": True}, {"prompt": "not told"}]
    job = session.post(url, json={"items": items, "params": {"temperature": 0}}).json()["id"]
    said, last, ends = "", "0", []
    for part in (15, 30, 1000):  # events after which the reader goes away
        with session.get(
            f"{url}/{job}/events", headers={"Last-Event-ID": last}, stream=True, timeout=30
        ) as answer:
            for event, seen in zip(_events(answer), range(part), strict=False):
                last = event.get("id", last)
                if event["event"] == "item.delta":
                    assert event["data"]["index"] == 0
                    said += event["data"]["text"]
                ends.append(event["event"])
                assert seen < part
    assert said == WORDS[: len(said)] and len(said) > len(WORDS) // 2
    assert ends.count("item.finished") == 2 and ends[-1] == "job.finished"


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    import json

    event: dict[str, Any] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        name, _, value = line.partition(": ")
        if not line:
            if "event" in event:
                yield event
            event = {}
        elif name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)
