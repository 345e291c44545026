"""The parts as they are deployed, the echo engine, and what a user of batches does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import openai
from openai.types import Batch

from cli.valkey import free_port
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.jobs import JobStore
from common.store.tenants import Tenants
from tests.support.processes import ROOT, spawn
from tests.support.waiting import wait_until

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
COMPLETIONS: Literal["/v1/completions"] = "/v1/completions"
OVER = {"completed", "failed", "expired", "cancelled"}


def chat(custom_id: str, text: str, **body: Any) -> dict[str, Any]:
    """A line that asks for a chat completion."""
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        **body,
    }
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def completion(custom_id: str, prompt: Any, **body: Any) -> dict[str, Any]:
    """A line that asks for a completion."""
    body = {"model": "echo", "prompt": prompt, "temperature": 0, **body}
    return {"custom_id": custom_id, "method": "POST", "url": COMPLETIONS, "body": body}


def jsonl(lines: list[Any]) -> bytes:
    """Lines as a file; bytes go in as they are."""
    return b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )


class Mill:
    """The parts, each in a process of its own, and a client with a key."""

    def __init__(self, url: str, folder: Path):
        self.redis = connect(url)
        self.store = JobStore(self.redis)
        self.api_keys, self.tenants = ApiKeys(self.redis), Tenants(self.redis)
        self._folder = folder
        self._url = url
        self._parts: list[subprocess.Popen[bytes]] = []
        self._clients: list[openai.OpenAI] = []
        self.port = free_port()
        self.client = self.client_of("acme")

    def client_of(self, tenant: str, port: int | None = None, **options: Any) -> openai.OpenAI:
        settings: dict[str, Any] = {
            "api_key": self.api_keys.create_key(tenant),
            # No proxy between here and loopback.
            "http_client": openai.DefaultHttpx2Client(trust_env=False),
            "max_retries": 0,
            "timeout": 30.0,
        } | options
        made = openai.OpenAI(base_url=f"http://127.0.0.1:{port or self.port}/v1", **settings)
        self._clients.append(made)
        return made

    def start(self, *command: str, said: str = "", **settings: Any) -> subprocess.Popen[bytes]:
        """A part, when its log says so. Settings are PROMPTMILL_ variables in lower case."""
        settings = {
            "model": "echo",
            "lease": 3,
            "port": self.port,
            "webhook_allow": "127.0.0.1",
            "grace": 0,
        } | settings
        env = os.environ | {
            f"PROMPTMILL_{name.upper()}": str(value) for name, value in settings.items()
        }
        log = self._folder / f"part-{len(self._parts)}.log"
        with log.open("wb") as sink:
            process = spawn(
                [sys.executable, "-m", *command], cwd=ROOT, env=env | {"REDIS_URL": self._url},
                stdout=sink, stderr=sink, start_new_session=True,
            )  # fmt: skip
        self._parts.append(process)
        wait_until(lambda: said in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return process

    def web(self, **settings: Any) -> subprocess.Popen[bytes]:
        self.web_process = self.start("web.serve", said="Booting worker", **settings)
        return self.web_process

    def worker(self, **settings: Any) -> subprocess.Popen[bytes]:
        return self.start(
            "celery", "-q", "-A", "worker.app", "worker", said="serving echo", **settings
        )

    def webhooks(self) -> subprocess.Popen[bytes]:
        return self.start("celery", "-A", "worker.webhooks", "worker", "-Q", "webhooks")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """What a power cut does to a part."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self._parts:
            if process.poll() is None:
                self.kill(process)
        self.redis.close()

    # What a user does

    def upload(
        self, lines: list[Any] | bytes, client: openai.OpenAI | None = None, **options: Any
    ) -> str:
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        made = (client or self.client).files.create(
            file=("requests.jsonl", content), purpose="batch", **options
        )
        return made.id

    def submit(
        self, lines: list[Any] | bytes, endpoint: Any = CHAT, window: Any = "24h", **options: Any
    ) -> Batch:
        return self.client.batches.create(
            input_file_id=self.upload(lines), endpoint=endpoint, completion_window=window, **options
        )

    def wait(self, batch: Batch, *states: str, limit: float = 30.0) -> Batch:
        """The batch once it is in one of these states, by default over."""
        wanted = set(states) or OVER

        def look() -> Batch | None:
            found = self.client.batches.retrieve(batch.id)
            return found if found.status in wanted else None

        return wait_until(look, limit=limit)

    def keep_busy(self) -> Batch:
        """A batch that keeps the validator busy for a second or two: what comes behind it waits."""
        batch = self.submit([chat(f"{i}", "x") for i in range(10_000)])
        wait_until(lambda: self.redis.hget(f"pm:batch:{batch.id}", "claim"))
        return batch

    def run(self, lines: list[Any] | bytes, endpoint: Any = CHAT, **options: Any) -> Batch:
        return self.wait(self.submit(lines, endpoint, **options))

    def rows(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a file; none if there is none."""
        if file_id is None:
            return []
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]
