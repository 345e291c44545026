"""What tests in a browser share: the running server, and what browsers print on their console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import redis
import requests
from playwright.sync_api import Page

from cli.valkey import Valkey, free_port
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.sessions import Sessions
from tests.support.parts import Part
from tests.support.waiting import wait_until
from web.auth import COOKIE

NO_PROXIES = {"http": ""}


@dataclass
class BrowserSite:
    """The running server. `login` answers a link; each one works once."""

    url: str
    client: redis.Redis
    start_worker: Callable[[], Part]
    worker: Part
    start_evaluator: Callable[[], Part]
    numbers: Iterator[int] = field(default_factory=count)

    def new_tenant(self) -> str:
        name = f"tenant-{next(self.numbers)}"
        ApiKeys(self.client).create_key(name)
        return name

    def session(self, tenant: str) -> Any:
        """The cookie of somebody who pressed the button."""
        token = Sessions(self.client).create_login(tenant)
        answer = requests.post(
            f"{self.url}/login", data={"token": token}, allow_redirects=False, proxies=NO_PROXIES
        )
        return {"name": COOKIE, "value": str(answer.cookies[COOKIE]), "url": self.url}

    def lose_worker(self) -> None:
        """Kill the worker, as a power cut does, and start another."""
        self.worker.kill()
        self.worker = self.start_worker()

    def login(self, tenant: str) -> str:
        return f"{self.url}/login?token={Sessions(self.client).create_login(tenant)}"


@dataclass
class Console:
    """What browsers said on their consoles; `expected` are beginnings of lines that are fine."""

    lines: list[str] = field(default_factory=list)
    # A logout empties the browser's cache, which Chromium mentions.
    expected: list[str] = field(default_factory=lambda: ["Clear-Site-Data header on"])

    def listen(self, page: Page) -> None:
        page.on("console", lambda message: self.lines.append(message.text))
        page.on("pageerror", lambda error: self.lines.append(str(error)))

    def expect_status(self, status: int) -> None:
        """Chromium writes a line for each answer of 400 and above."""
        self.expected.append(
            f"Failed to load resource: the server responded with a status of {status}"
        )


@contextmanager
def running_site(folder: Path, loading: float = 60, **settings: object) -> Iterator[BrowserSite]:
    """A web process and a worker, of the echo engine unless the settings say otherwise, with a
    server of their own in this folder."""
    valkey = Valkey(folder, durable=False)
    url, port = valkey.start(), free_port()
    settings = {"model": "echo", "slots": 4, "echo_fail_on": "boom", "port": port} | settings

    def start(part: str) -> Part:
        return Part(("cli.main", part), url, folder / f"{part}.log", **settings)

    web, worker, client = start("serve"), start("worker"), connect(url)
    site = BrowserSite(
        f"http://127.0.0.1:{port}",
        client,
        lambda: start("worker"),
        worker,
        lambda: start("evaluator"),
    )
    try:
        wait_until(lambda: Fleet(client).workers(), lambda: worker.log, limit=loading)
        web.wait_until_said("Booting worker")
        yield site
    finally:
        web.stop()
        site.worker.stop(30)
        client.close()
        valkey.stop()
