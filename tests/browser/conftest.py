"""A whole promptmill for the browser: own Valkey, own web process, own worker with the echo engine,
and real Chromium.

All browser tests share the processes; each test has a tenant of its own. A line on the browser's
console is a failure unless the test says that it expects it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from cli.valkey import Valkey, free_port
from common.store.connection import connect
from common.store.fleet import Fleet
from common.types import ModelCard
from tests.support.browser import Console, Mill
from tests.support.processes import ROOT, killed_on_error, spawn

START = 30.0  # seconds the parts may take to come up
SLOW = "0.02"  # seconds a token takes: long enough to watch a job fill in


@pytest.fixture(scope="session")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    folder = tmp_path_factory.mktemp("mill")
    valkey = Valkey(folder, durable=False)
    url, port = valkey.start(), free_port()
    settings = {"PROMPTMILL_MODEL": "echo", "PROMPTMILL_ECHO_DELAY": SLOW, "PROMPTMILL_SLOTS": "4"}
    settings |= {"PROMPTMILL_ECHO_FAIL_ON": "boom", "PROMPTMILL_PORT": str(port), "REDIS_URL": url}
    parts = [_start(part, folder / f"{part}.log", settings) for part in ("serve", "worker")]
    client = connect(url)
    try:
        _until(lambda: bool(Fleet(client).workers()), folder / "worker.log")
        _until(lambda: "Booting worker" in (folder / "serve.log").read_text(), folder / "serve.log")
        yield Mill(f"http://127.0.0.1:{port}", client)
    finally:
        for part in parts:
            part.terminate()
        for part in parts:
            with killed_on_error(part):
                part.wait(30)
        client.close()
        valkey.stop()


def _start(part: str, log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return spawn(
            [sys.executable, "-m", "cli.main", part],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=output,
            stderr=output,
        )


def _until(ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + START
    while not ready():
        if time.monotonic() > end:
            pytest.fail(f"a part did not come up in {START:.0f} s:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


@pytest.fixture
def sleeping_model(mill: Mill) -> str:
    """A model that was served once and is not now."""
    card = ModelCard(
        id="sleepy",
        digest="sleepy",
        engine="echo",
        device="cpu",
        dtype="none",
        context=8192,
        slots=4,
        tokenizer="words",
        created=1,
    )
    Fleet(mill.client).publish(card, b"")
    return card.id


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    yield console
    assert [line for line in console.lines if not line.startswith(tuple(console.expected))] == []


@pytest.fixture
def context(mill: Mill, chromium: Browser, console: Console) -> Iterator[BrowserContext]:
    """A browser that is logged in as a new tenant."""
    yield from _logged_in(mill, chromium, console, scripts=True)


@pytest.fixture
def plain_context(mill: Mill, chromium: Browser, console: Console) -> Iterator[BrowserContext]:
    """The same without JavaScript."""
    yield from _logged_in(mill, chromium, console, scripts=False)


def _logged_in(
    mill: Mill, chromium: Browser, console: Console, scripts: bool
) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=mill.url, java_script_enabled=scripts)
    context.set_default_timeout(10_000)
    context.on("page", console.listen)
    context.add_cookies([mill.session(mill.new_tenant())])
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """The submit form, logged in."""
    page = context.new_page()
    page.goto("/")
    return page


@pytest.fixture
def plain_page(plain_context: BrowserContext) -> Page:
    page = plain_context.new_page()
    page.goto("/")
    return page


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[[list[dict]], Path]:
    def write(items: list[dict]) -> Path:
        path = tmp_path / "prompts.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        return path

    return write
