"""promptmill as it is deployed, small: a Valkey that syncs every write, one web process, one echo
worker.

All are real processes, started by their own commands and used over HTTP; only Redis's own
statistics and timestamps are read beside the API.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from bench.lib.background import in_background
from bench.lib.machine import ROOT
from cli.valkey import Valkey, free_port
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.jobs import JobStore

START_LIMIT = 300.0  # seconds for all parts to be up; vLLM takes a minute, more on a busy machine
SAMPLE = 0.02  # seconds between two looks at memory
READ = 2**16  # bytes of a stream of events
END = "end-of-count"


class Stack:
    """The running parts, by their commands. `slots` are the worker's; `settings` are PROMPTMILL_
    variables in lower case. `worker_python` and `worker_env` are an interpreter and variables for
    the worker, where it runs in an environment of its own."""

    def __init__(
        self,
        folder: Path,
        slots: int,
        parts: tuple[str, ...] = ("serve", "worker"),
        *,
        worker_python: str = sys.executable,
        worker_env: dict[str, str] | None = None,
        **settings: object,
    ):
        self._folder = folder
        self._commands = parts
        self._worker = worker_python, worker_env or {}
        self._valkey = Valkey(folder)
        self._settings = {"slots": slots, **settings}
        self.model = Path(str(settings.get("model", "echo"))).name
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        url = self._valkey.start()
        self.client = connect(url)
        self.store = JobStore(self.client)
        self.key = ApiKeys(self.client).create_key("bench", "bench")
        self.port = free_port()
        settings = {"PORT": str(self.port), "MODEL": "echo", "DEVICE": "cpu"}
        settings |= {name.upper(): str(value) for name, value in self._settings.items()}
        env = (
            os.environ
            | {"REDIS_URL": url}
            | {f"PROMPTMILL_{name}": value for name, value in settings.items()}
        )
        for part in self._commands:
            python, more = self._worker if part == "worker" else (sys.executable, {})
            with (self._folder / f"{part}.log").open("wb") as log:
                self._parts[part] = subprocess.Popen(
                    [python, "-m", "cli.main", part],
                    cwd=ROOT,
                    env=env | more,
                    stdout=log,
                    stderr=log,
                )
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            for part, process in self._parts.items():
                if process.poll() is not None:
                    raise RuntimeError(
                        f"{part} ended:\n{(self._folder / f'{part}.log').read_text()[-3000:]}"
                    )
            try:
                if self.request("GET", "/readyz")[0] == 200 and self.client.zcard("pm:workers"):
                    return
            except OSError:
                pass  # not listening yet
            time.sleep(0.1)
        raise RuntimeError(f"not up within {START_LIMIT:.0f} s")

    def stop(self) -> None:
        for process in reversed(self._parts.values()):
            process.terminate()
        for process in self._parts.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
        self._valkey.stop()

    # The API

    def connect(self) -> http.client.HTTPConnection:
        """A connection for many requests, as a program that submits often keeps one."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        connection: http.client.HTTPConnection | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        own = connection or self.connect()
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type}
            own.request(method, path, body, headers)
            answer = own.getresponse()
            content = answer.read()
            return answer.status, json.loads(content or b"null")
        finally:
            if connection is None:
                own.close()

    def submit(self, body: bytes, content_type: str = "application/json", **options: Any) -> str:
        """The id of a job that was accepted."""
        status, answer = self.request("POST", "/v1/jobs", body, content_type, **options)
        if status != 202:
            raise RuntimeError(f"a submit was answered {status}: {answer}")
        return str(answer["id"])

    def wait(self, job_id: str, limit: float = 300.0) -> dict[str, Any]:
        """The job once it is done, every item of it succeeded."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            _, job = self.request("GET", f"/v1/jobs/{job_id}?wait=30")
            if job["status"] not in ("queued", "running"):
                if job["counts"]["succeeded"] != job["counts"]["total"]:
                    raise RuntimeError(f"not all items succeeded: {job['counts']}")
                return job
        raise RuntimeError(f"{job_id} is not done within {limit:.0f} s")

    def results(self, job_id: str) -> int:
        """How many results there are, all of them fetched."""
        connection = self.connect()
        connection.request(
            "GET",
            f"/v1/jobs/{job_id}/results.jsonl",
            headers={"Authorization": f"Bearer {self.key}"},
        )
        lines = connection.getresponse().read().count(b"\n")
        connection.close()
        return lines

    def events(self, job_id: str) -> Iterator[tuple[str, Any]]:
        """Name and data of each event of a job, as they come; ends with the job."""
        connection = self.connect()
        headers = {"Authorization": f"Bearer {self.key}"}
        connection.request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
        answer, rest = connection.getresponse(), b""
        while block := answer.read1(READ):
            *whole, rest = (rest + block).split(b"\n\n")
            for event in whole:
                fields = dict(line.partition(b": ")[::2] for line in event.split(b"\n"))
                if b"data" in fields:
                    yield fields[b"event"].decode(), json.loads(fields[b"data"])
        connection.close()

    def delete(self, job_id: str) -> None:
        self.request("DELETE", f"/v1/jobs/{job_id}")

    # What the parts consume

    @contextmanager
    def worker_commands(self) -> Iterator[Counter[str]]:
        """Commands the worker process sends to Redis while the block runs, by name, over all its
        connections.

        MONITOR tells them from those that scripts run inside the server, which the server's own
        counters do not. It slows everything down: nothing else is to be measured meanwhile.
        """
        found: Counter[str] = Counter()
        process = psutil.Process(self._parts["worker"].pid)
        ports = {str(link.laddr.port) for link in process.net_connections("tcp")}
        with self.client.monitor() as monitor:

            def count() -> None:
                for line in monitor.listen():
                    if line["command"] == f"ECHO {END}":
                        return
                    if line["client_port"] in ports:
                        found[line["command"].split()[0]] += 1

            thread = threading.Thread(target=count)
            thread.start()
            try:
                yield found
            finally:
                self.client.echo(END)
                thread.join(60)

    @contextmanager
    def web_memory(self) -> Iterator[list[int]]:
        """Bytes the web tier's processes hold together, sampled while the block runs."""
        samples: list[int] = []
        web = psutil.Process(self._parts["serve"].pid)

        def sample(ended: threading.Event) -> None:
            while not samples or not ended.wait(SAMPLE):
                with suppress(psutil.NoSuchProcess):  # one that ended meanwhile
                    samples.append(
                        sum(
                            process.memory_info().rss
                            for process in [web, *web.children(recursive=True)]
                        )
                    )

        with in_background(sample):
            yield samples

    def pids(self) -> dict[str, int]:
        return {part: process.pid for part, process in self._parts.items()} | {
            "valkey": self._valkey.pid or 0
        }


@contextmanager
def running_stack(
    slots: int, parts: tuple[str, ...] = ("serve", "worker"), **settings: Any
) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as folder:
        stack = Stack(Path(folder), slots, parts, **settings)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
