"""The official client against the web tier as it is deployed, with real workers on a real
server."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from openai import OpenAI

from cli.valkey import Valkey, free_port
from common.store.accounts import Accounts
from common.store.connection import connect
from common.store.fleet import Fleet
from tests.integration.worker.conftest import Workers, wait_for
from tests.processes import killed_on_error, spawn

ROOT = Path(__file__).parents[3]
DELAY = 0.02  # seconds a word takes the echo engine


class Stack:
    """A web process and workers of the echo engine; `client` has the key of a tenant."""

    def __init__(self, url: str, folder: Path, **settings: object):
        self.redis = connect(url)
        self.workers = Workers(url, folder)
        self.port = free_port()
        env = {"REDIS_URL": url, "PROMPTMILL_PORT": str(self.port), "PROMPTMILL_LOG_FORMAT": "json"}
        env |= {f"PROMPTMILL_{name.upper()}": str(value) for name, value in settings.items()}
        self._log = (folder / "web.log").open("wb")
        command = [sys.executable, "-m", "web.serve"]
        self._web = spawn(
            command, cwd=ROOT, env=os.environ | env, stdout=self._log, stderr=self._log
        )
        self.key = Accounts(self.redis).create_key("acme")
        self.client = self.client_with(self.key)
        with killed_on_error(self._web):
            wait_for(self._answers, "the web tier did not come up")

    def client_with(self, key: str, **options: object) -> OpenAI:
        return OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            api_key=key,
            **{"max_retries": 0, **options},
        )

    def held(self) -> int:
        """Items that workers run right now."""
        return sum(worker["held"] for worker in Fleet(self.redis).workers())

    def _answers(self) -> bool:
        try:
            self.client.models.list()
        except Exception:
            time.sleep(0.05)
            return False
        return True

    def stop(self) -> None:
        self.client.close()
        self.workers.stop_all()
        self._web.terminate()
        with killed_on_error(self._web):
            self._web.wait(15)
        self._log.close()
        self.redis.close()


@pytest.fixture(scope="module")
def no_proxy(dead_proxy: None) -> Iterator[None]:
    """The client goes through the environment's proxy, but not to this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def empty_url(valkey: Valkey, no_proxy: None) -> str:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="module")
def stack(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(empty_url, tmp_path_factory.mktemp("stack"), worker_wait=1, max_queued_items=50)
    try:
        started.workers.start(echo_delay=DELAY, echo_fail_on="qqq", lease=3)
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def client(stack: Stack) -> OpenAI:
    return stack.client
