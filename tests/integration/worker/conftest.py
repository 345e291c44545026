"""Real Celery workers with the echo engine on a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.valkey import find_binary, free_port
from common.rings import Bell
from common.store.connection import connect, wait_until_up
from common.store.jobs import JobStore, new_job_id
from tests.processes import spawn
from worker.models import open_model

ROOT = Path(__file__).parents[3]
DIGEST = open_model("echo").card.digest  # workers run no items that were made for another model


class Workers:
    """Starts workers and ends every one that is left."""

    def __init__(self, url: str, folder: Path):
        self.url = url
        self._folder = folder
        self._all: list[subprocess.Popen[bytes]] = []

    def start(
        self, wait: bool = True, app: str = "worker.app", **settings: object
    ) -> subprocess.Popen[bytes]:
        """A worker, by default one that has published its card. Settings are PROMPTMILL_ variables
        in lower case."""
        env = os.environ | {"REDIS_URL": self.url, "PROMPTMILL_MODEL": "echo"}
        settings = {"interactive_slots": 0} | settings  # None: by default, an eighth
        env |= {
            f"PROMPTMILL_{name.upper()}": str(value)
            for name, value in settings.items()
            if value is not None
        }
        log = (self._folder / f"worker-{len(self._all)}.log").open("wb")
        command = [
            sys.executable,
            "-m",
            "celery",
            "-q",
            "-A",
            app,
            "worker",
            "-n",
            f"w{len(self._all)}@%h",
        ]
        with log:
            process = spawn(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self._all.append(process)
        if wait:
            wait_for(
                lambda: b"serving echo" in self.log(process),
                f"worker did not start: {self.log(process)!r}",
            )
        return process

    def log(self, process: subprocess.Popen[bytes]) -> bytes:
        return (self._folder / f"worker-{self._all.index(process)}.log").read_bytes()

    def stop_all(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)


def wait_for(condition: Callable[[], object], why: str, seconds: float = 20.0) -> None:
    """Poll until it holds; fail with `why` when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, why
        time.sleep(0.02)


class Queue:
    """Submits to the workers and watches."""

    def __init__(self, url: str):
        self.store = JobStore(connect(url))
        self._bell = Bell(url)

    def submit(
        self,
        items: int,
        max_tokens: int = 10,
        *,
        special: dict[int, str] | None = None,
        deadline: int = 0,
        **fields: object,
    ) -> str:
        """A job of so many prompts; `special` are words that some of them have at their end.
        `deadline` is in ms."""
        stage = self.store.stage()
        for i in range(items):
            words = (special or {}).get(i, "j")
            stage.add({"prompt": f"a{i} b c d e f g h i {words}", "params": {"ignore_eos": True}})
        stage.close()
        spec = json.dumps(
            {"model": "echo", "params": {"max_tokens": max_tokens, "temperature": 0.0}}
        )
        hash_fields = {
            "tenant": "t",
            "model": "echo",
            "digest": DIGEST,
            "total": items,
            "cost": 20,
            "n_max": 1,
            "priority": 0,
            "hooks": "",
            "retention": 86_400_000,
            "spec": spec,
            **fields,
        }
        attached = self.store.attach(stage, hash_fields, job_id=new_job_id(), deadline=deadline)
        self.ring(attached.rings)
        return attached.job_id

    def ring(self, count: int) -> None:
        self._bell.ring("echo", count)

    def count(self, job_id: str, state: str) -> int:
        return int(self.store.job(job_id)[state])

    def wait_status(self, job_id: str, status: str, seconds: float = 30.0) -> None:
        wait_for(
            lambda: self.store.job(job_id)["status"] == status, f"{self.store.job(job_id)}", seconds
        )

    def check_all_succeeded_once(self, job_id: str) -> list[int]:
        """Every item has one result, which is its own; answers the attempts each took."""
        total = self.count(job_id, "total")
        rows = self.store.rows(job_id, 0, total)
        assert [row["status"] for row in rows] == ["succeeded"] * total
        for i, row in enumerate(rows):
            assert row["outputs"][0]["text"].startswith(f"a{i} b"), row
        assert sorted(self.store.finished_after(job_id, 0, 2 * total)) == list(range(total)), (
            "each result is told once"
        )
        return [row["attempts"] for row in rows]


class OwnServer:
    """A durable server that can be killed and comes back at the same address."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self, **options: str) -> None:
        """With the server's own settings, by default an append-only file written before every
        answer."""
        options = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        } | options
        options["port"] = str(self._port)
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = spawn(
            [find_binary(), *arguments], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        with connect(self.url) as client:
            wait_until_up(client, 10)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def log(self) -> Path:
        """The append-only file's part that grows."""
        return next((self._folder / "appendonlydir").glob("*.incr.aof"))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = OwnServer(folder)
    yield server
    server.kill()


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(redis_url, tmp_path)
    yield started
    started.stop_all()


@pytest.fixture
def queue(redis_url: str) -> Queue:
    return Queue(redis_url)
