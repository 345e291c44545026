"""A worker with engine vllm is killed in the middle of a job; another one ends the job."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.lib.jobs import job_fields
from common.result_row import Row
from common.store import keys
from common.store.fleet import Fleet
from common.store.jobs import new_job_id
from common.stored_item import StoredItem
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from web.follow.stream_cursor import StreamCursor
from worker.checkpoints import MIN_AGE

pytestmark = pytest.mark.timeout(500)  # vLLM takes its time to start

DIGITS = {"type": "array", "items": {"enum": [*range(10)]}, "minItems": 200, "maxItems": 200}
LONG = {"max_tokens": 480, "ignore_eos": True}
GREEDY = {"temperature": 0.0, **LONG}
SEEDED = {"temperature": 0.8, "seed": 5, **LONG}
KINDS: dict[str, dict[str, Any]] = {
    "greedy": GREEDY,
    "greedy with a penalty": {**GREEDY, "presence_penalty": 1.0},
    "seeded": SEEDED,
    "three": {**SEEDED, "n": 3},
    "format": {"temperature": 0.8, "seed": 6, "max_tokens": 480, "output": {"json_schema": DIGITS}},
}
ITEMS: dict[tuple[str, bool], StoredItem] = {
    (kind, streamed): {"prompt": "once upon", "params": params, "stream": streamed}
    for kind, params in KINDS.items()
    for streamed in (False, True)
}
SETTINGS: dict[str, Any] = {
    "engine": "vllm",
    "vllm_args": '{"enforce_eager": true}',
    "dtype": "float32",
    "slots": 16,
    "heartbeat": 0.3,
    "lease": 20,
}


class Client:
    """Follows all streams of a job, as the web tier does for a client."""

    def __init__(self, queue: Queue, job_id: str):
        self._queue, self._job_id = queue, job_id
        self._cursor = StreamCursor()
        self.texts: dict[tuple[int, int], str] = defaultdict(str)

    def look(self) -> int:
        """Take what is new; how many tokens every stream has at least."""
        for piece in self._cursor.take(self._queue.store.said(self._job_id)):
            self.texts[piece.index, piece.output] += piece.text
        return min(
            self._cursor.sent(index, output)
            for index, (kind, streamed) in enumerate(ITEMS)
            for output in range(KINDS[kind].get("n", 1))
            if streamed
        )


class Killed:
    """Workers of a model, one at a time, and a job of all kinds."""

    def __init__(self, url: str, workers: Workers, model: Path):
        self._workers, self._model = workers, model
        self.queue = Queue(url)
        self._redis = self.queue.store.client

    def start(self) -> subprocess.Popen[bytes]:
        process = self._workers.start(wait=False, model=self._model, **SETTINGS)
        wait_until(self._incarnations, lambda: self._workers.log(process), 300)
        return process

    def _incarnations(self) -> list[bytes]:
        return list(self._redis.zrange(keys.WORKERS, 0, -1))

    def submit(self) -> str:
        store = self.queue.store
        stage = store.stage()
        for item in ITEMS.values():
            stage.add(item)
        stage.close()
        digest = Fleet(self._redis).model(self._model.name).digest
        fields = job_fields(self._model.name, digest, len(ITEMS), {"params": {}}, n_max=3)
        return store.attach(stage, fields, job_id=new_job_id()).job_id

    def rows(self, job_id: str) -> dict[tuple[str, bool], Row]:
        """The rows of a job, once it is over."""
        self.queue.wait_status(job_id, "completed", 300)
        return dict(zip(ITEMS, self.queue.store.rows(job_id, 0, len(ITEMS)), strict=True))

    def kill(self, process: subprocess.Popen[bytes], client: Client) -> None:
        """Kill a worker after clients have got more of each row than its checkpoint has."""
        wait_until(lambda: client.look() > 5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(MIN_AGE)  # a younger row has no checkpoint
        process.send_signal(signal.SIGCONT)
        (worker,) = self._incarnations()
        wait_until(lambda: self._redis.exists(f"pm:grown:{worker.decode()}"))
        had = client.look()
        wait_until(lambda: client.look() > had + 20)
        process.kill()
        process.wait()
        client.look()
        self._redis.zadd(keys.WORKERS, {worker: 1})  # its lease runs out now


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(redis_url, tmp_path)
    yield started
    started.stop_all()


def test_what_clients_have_stands_and_all_else_is_as_without_a_kill(
    redis_url: str, workers: Workers, tiny_model: Path
) -> None:
    site = Killed(redis_url, workers, tiny_model)
    process = site.start()
    straight = site.rows(site.submit())
    job_id = site.submit()
    client = Client(site.queue, job_id)
    site.kill(process, client)
    assert site.queue.count(job_id, "running") == len(ITEMS), "choose longer texts"
    site.start()
    while site.queue.store.job(job_id).status != "completed":
        client.look()
        time.sleep(0.3)
    for index, ((kind, streamed), row) in enumerate(site.rows(job_id).items()):
        plain = straight[kind, streamed]
        same = row["outputs"] == plain["outputs"]
        if kind == "greedy":
            assert same and row.get("resumed_on") is None, kind
        elif streamed:
            assert not same and row.get("resumed_on") == "other_draws", kind
        else:
            assert same and row.get("resumed_on") == "from_start", kind
        assert row["usage"] == plain["usage"] and row["attempts"] == 1
        for output, found in enumerate(row["outputs"] if streamed else []):
            had = client.texts[index, output]
            assert len(had) > 100 and found["text"].startswith(had), (kind, output)
