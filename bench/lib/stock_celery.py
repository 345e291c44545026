"""Stock Celery as its own tutorial has it: one task per prompt, results in Redis, default settings.

This module is also the app that its workers load: `celery -A bench.lib.stock_celery worker`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import Celery

from bench.lib.machine import ROOT
from cli.valkey import find_binary, free_port

URL = "STOCK_CELERY_REDIS"
POOLS = ("threads", "prefork")
LIMIT = 300.0  # seconds for anything here

app = Celery("stock", broker=os.environ.get(URL), backend=os.environ.get(URL))


@app.task(name="echo")
def echo(prompt: str) -> dict[str, object]:
    """What the echo engine does: the prompt's words once over."""
    words = prompt.split()
    return {"text": " ".join(words), "finish_reason": "stop", "token_count": len(words)}


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of a server of its own, on the binary's default settings."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="stock-celery-") as folder:
        command = [
            find_binary(),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--logfile",
            "valkey.log",
        ]
        server = subprocess.Popen(command, cwd=folder)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            _wait_until_serving(url)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_serving(url: str) -> None:
    deadline = time.monotonic() + LIMIT
    with redis.Redis.from_url(url, retry=None) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
                return
            except redis.RedisError:
                time.sleep(0.02)
    raise RuntimeError("the stock server does not come up")


@contextmanager
def running_worker(url: str, pool: str) -> Iterator[None]:
    """A worker on default settings but for its pool; it has answered once when the block begins."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-q",
        "-A",
        "bench.lib.stock_celery",
        "worker",
        "-P",
        pool,
        "--loglevel=WARNING",
    ]
    with Path(os.devnull).open("wb") as nowhere:
        worker = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {URL: url}, stdout=nowhere, stderr=nowhere
        )
    try:
        echo.delay("warm up").get(timeout=LIMIT)
        yield
    finally:
        worker.terminate()
        worker.wait(30)


def items_per_s(url: str, pool: str, prompts: list[str]) -> float:
    """Prompts a second from the first `delay` to the last result."""
    app.conf.update(broker_url=url, result_backend=url)
    with running_worker(url, pool):
        begun = time.monotonic()
        results = [echo.delay(prompt) for prompt in prompts]
        for result in results:
            result.get(timeout=LIMIT)
        seconds = time.monotonic() - begun
    return len(prompts) / seconds
