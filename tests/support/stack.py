"""The web tier as it is deployed, with real workers, and the official client."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from openai import OpenAI

from cli.valkey import free_port
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.fleet import Fleet
from tests.support.processes import ROOT, killed_on_error, spawn
from tests.support.waiting import wait_until
from tests.support.workers import Workers

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
        self.key = ApiKeys(self.redis).create_key("acme")
        self.client = self.client_with(self.key)
        with killed_on_error(self._web):
            wait_until(self._answers, "the web tier did not come up")

    def client_with(self, key: str, **options: Any) -> OpenAI:
        return OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            api_key=key,
            **{"max_retries": 0, **options},
        )

    def held(self) -> int:
        """Items that workers run right now."""
        return sum(worker.held for worker in Fleet(self.redis).workers())

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
