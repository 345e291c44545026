"""A web process of its own under requests that cost it much, and what that does to somebody else's
requests."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from common.settings import Settings
from tests.support.cards import card
from tests.support.web_process import WebProcess
from web.services.services import Services

PAUSE = 0.02  # seconds between two requests of the other tenant


@dataclass(frozen=True)
class Sent:
    """One request, and how it is to be sent."""

    path: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] | None = None


@dataclass
class Pressure:
    """What came of requests: their statuses and codes, another tenant's longest wait (s), and
    growth (bytes)."""

    answers: list[tuple[int, str]]
    worst_wait: float
    growth: int


class Pressed:
    """A web process with a model of a long context, and two tenants."""

    def __init__(self, redis_url: str, context: int = 200_000):
        self._web = WebProcess(redis_url, max_upload_bytes=None)
        self.port, self.process = self._web.port, self._web.process
        self._redis_url = redis_url
        self._context = context
        self.empty()

    def empty(self) -> None:
        """The store as at the beginning."""
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushall()
        services = Services.build(Settings.load(redis_url=self._redis_url))
        services.fleet.publish(card(context=self._context), b"")
        self.key, self.other_key = (
            services.api_keys.create_key(name) for name in ("acme", "other")
        )
        services.watches.close()
        services.redis.close()

    def _call(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, **options)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (BrokenPipeError, ConnectionResetError):  # answered before all was read
            return 0, b"{}"
        finally:
            connection.close()

    def send(self, sent: Sent) -> tuple[int, str]:
        """The status, and the code of an error."""
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": sent.content_type,
            **(sent.headers or {}),
        }
        status, answer = self._call("POST", sent.path, body=sent.body, headers=headers)
        found = json.loads(answer) if answer.startswith(b"{") else {}
        return status, str(found.get("code") or found.get("error", {}).get("code", ""))

    def memory(self) -> int:
        return self._web.memory()

    def press(self, sent: Sent, times: int = 1) -> Pressure:
        """Send it so often at once, while the other tenant lists its jobs again and again."""
        found = Pressure([], 0.0, 0)
        before = self.memory()

        def work() -> None:
            found.answers.append(self.send(sent))

        threads = [threading.Thread(target=work) for _ in range(times)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            began = time.monotonic()
            status, _ = self._call(
                "GET", "/v1/jobs", headers={"Authorization": f"Bearer {self.other_key}"}
            )
            assert status == 200
            found.worst_wait = max(found.worst_wait, time.monotonic() - began)
            found.growth = max(found.growth, self.memory() - before)
            time.sleep(PAUSE)
        for thread in threads:
            thread.join()
        return found

    def stop(self) -> None:
        self._web.stop()
