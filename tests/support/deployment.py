"""promptmill as it is deployed, each part in a process of its own, and clients of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import openai

from cli.valkey import free_port
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.jobs import JobStore
from common.store.tenants import Tenants
from tests.support.parts import WEB, WEBHOOKS, WORKER, Part


class Deployment:
    """Parts with the echo engine. Settings are PROMPTMILL_ variables in lower case."""

    def __init__(self, url: str, folder: Path):
        self.redis = connect(url)
        self.store = JobStore(self.redis)
        self.api_keys, self.tenants = ApiKeys(self.redis), Tenants(self.redis)
        self.url = url
        self.port = free_port()
        self.key = self.api_keys.create_key("acme")
        self._folder = folder
        self._parts: list[Part] = []
        self._clients: list[openai.OpenAI] = []
        self.client = self.client_with(self.key)

    def client_with(self, key: str, **options: Any) -> openai.OpenAI:
        settings: dict[str, Any] = {
            # No proxy between here and loopback.
            "http_client": openai.DefaultHttpx2Client(trust_env=False),
            "max_retries": 0,
            "timeout": 30.0,
        } | options
        made = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, **settings)
        self._clients.append(made)
        return made

    def client_of(self, tenant: str) -> openai.OpenAI:
        return self.client_with(self.api_keys.create_key(tenant))

    def start(
        self, words: tuple[str, ...], said: str = "", **settings: Any
    ) -> subprocess.Popen[bytes]:
        """A part, once its log says so."""
        settings = {
            "model": "echo",
            "lease": 3,
            "port": self.port,
            "webhook_allow": "127.0.0.1",
            "grace": 0,
        } | settings
        log = self._folder / f"part-{len(self._parts)}.log"
        self._parts.append(Part(words, self.url, log, **settings))
        self._parts[-1].wait_until_said(said)
        return self._parts[-1].process

    def web(self, **settings: Any) -> subprocess.Popen[bytes]:
        self.web_process = self.start(WEB, said="Booting worker", **settings)
        return self.web_process

    def worker(self, **settings: Any) -> subprocess.Popen[bytes]:
        return self.start(WORKER, said="serving echo", **settings)

    def webhooks(self) -> subprocess.Popen[bytes]:
        return self.start(WEBHOOKS)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """What a power cut does to a part."""
        next(part for part in self._parts if part.process is process).kill()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for part in self._parts:
            part.kill()
        self.redis.close()
