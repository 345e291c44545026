"""What the webhook tests share: a receiver on loopback, jobs that make events through the real
store, a real worker."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from common.store.connection import connect
from common.store.fleet import Fleet, Incarnation, Result
from common.store.jobs import JobStore, new_job_id
from common.store.packing import pack
from common.types import ItemState, ModelCard
from tests.processes import spawn

ROOT = Path(__file__).parents[3]
CARD = ModelCard(
    id="echo",
    digest="d",
    engine="echo",
    device="cpu",
    dtype="none",
    context=64,
    slots=8,
    tokenizer="words",
    created=0,
)
SECRET = "whsec_" + "QUJD" * 12


def wait_until(condition: Callable[[], Any], limit: float = 20.0) -> Any:
    """What `condition` answers once that is true; fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {limit} s")


@dataclass
class Call:
    """One request as it came in; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """An HTTP server that answers `statuses` in turn, the last one for ever, and remembers every
    call.

    While `hold` is clear it keeps callers waiting, while `stay` is clear it does not hang up after
    its header; `drip` makes it send that a byte at a time.
    """

    def __init__(self, *statuses: int):
        self.statuses = list(statuses) or [200]
        self.calls: list[Call] = []
        self.headers: dict[str, str] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.stay = threading.Event()
        self.stay.set()
        self.drip = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.calls.append(
                    Call(
                        self.path,
                        {name.lower(): value for name, value in self.headers.items()},
                        body,
                    )
                )
                status = (
                    receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
                )
                if receiver.drip:
                    self._drip()
                    return
                receiver.hold.wait(30)
                self.send_response(status)
                for name, value in {"content-length": "0", **receiver.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                receiver.stay.wait(10)

            def _drip(self) -> None:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + b"z" * 300:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.1)
                except OSError:
                    pass  # the caller gave up, which is what the test wants

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/hook?from=promptmill"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def wait_for(self, count: int, limit: float = 20.0) -> list[Call]:
        wait_until(lambda: len(self.calls) >= count, limit)
        return self.calls

    def close(self) -> None:
        self.hold.set()
        self.stay.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Opens receivers."""
    opened: list[Receiver] = []

    def open_one(*statuses: int) -> Receiver:
        opened.append(Receiver(*statuses))
        return opened[-1]

    yield open_one
    for receiver in opened:
        receiver.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> JobStore:
    return JobStore(client)


@pytest.fixture
def make_job(store: JobStore) -> Callable[..., str]:
    """Submits a job of one item that wants webhooks; answers its id."""

    def make(
        url: str,
        *,
        secret: str | None = SECRET,
        events: str = "job.started,job.finished",
        tenant: str = "acme",
    ) -> str:
        stage = store.stage()
        stage.add({"prompt": "a b c", "params": {}})
        stage.close()
        job_id = new_job_id()
        webhook = {"url": url, "events": events.split(",")} | ({"secret": secret} if secret else {})
        fields = {
            "tenant": tenant,
            "model": "echo",
            "digest": "d",
            "total": 1,
            "cost": 10,
            "n_max": 1,
            "priority": 0,
            "hooks": events,
            "retention": 60_000,
            "spec": json.dumps({"model": "echo", "webhook": webhook}),
        }
        store.attach(stage, fields, job_id=job_id)
        return job_id

    return make


@pytest.fixture
def run_jobs(client: redis.Redis) -> Callable[[], None]:
    """Does what a generation worker does with every item there is."""

    def run() -> None:
        Fleet(client).publish(CARD, b"")
        worker = Incarnation(client, CARD, lease=60)
        worker.register({"host": "here", "pid": "1", "started_at": "0"})
        done: list[Result] = []
        while runs := worker.exchange(done, 8).runs:
            done = [
                Result(
                    run.job_id,
                    run.first + i,
                    run.attempt,
                    ItemState.SUCCEEDED,
                    3,
                    3,
                    pack({"outputs": []}),
                )
                for run in runs
                for i in range(run.count)
            ]
        worker.release()

    return run


class Worker:
    """A webhook worker as it is deployed: a Celery process of its own."""

    def __init__(self, redis_url: str, queue: str = "webhooks", **settings: object):
        env = os.environ | {
            "REDIS_URL": redis_url,
            "PROMPTMILL_WEBHOOK_BACKOFF": "0.05",
            "PYTHONPATH": str(ROOT),
        }
        env |= {f"PROMPTMILL_{name.upper()}": str(value) for name, value in settings.items()}
        alone = ["--without-gossip", "--without-mingle"]
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "worker.webhooks",
            "worker",
            "-Q",
            queue,
            *alone,
        ]
        self._process = spawn(command, cwd=ROOT, env=env, start_new_session=True)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """End in order; answers the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(20)
        finally:
            if self._process.poll() is None:
                self.kill()

    @property
    def running(self) -> bool:
        return self._process.poll() is None


@pytest.fixture
def start_worker(redis_url: str) -> Iterator[Callable[..., Worker]]:
    """Starts webhook workers; settings are named as in common/settings.py. `via` is another way to
    Redis."""
    started: list[Worker] = []

    def start(via: str = redis_url, **settings: Any) -> Worker:
        started.append(Worker(via, **settings))
        return started[-1]

    yield start
    for worker in started:
        if worker.running:
            worker.kill()
