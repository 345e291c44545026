"""One running promptmill and one Chromium for all tests in a browser; one more for the gallery.

Each test has a tenant of its own. A line on the browser's console fails the test, unless the test
says that it expects it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from common.store.fleet import Fleet
from tests.support.browser import BrowserSite, Console, running_site
from tests.support.cards import card
from tests.support.gallery import Gallery

SLOW = 0.02  # seconds a token takes: long enough to watch a job fill in
SOON = 0.005  # long enough to cancel a job


@pytest.fixture(scope="session")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserSite]:
    with running_site(tmp_path_factory.mktemp("mill"), echo_delay=SLOW) as site:
        yield site


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """Has a promptmill of its own, on which its hundreds of items are soon done."""
    with running_site(tmp_path_factory.mktemp("gallery"), echo_delay=SOON) as site:
        yield Gallery(site)


@pytest.fixture
def evaluator(mill: BrowserSite) -> Iterator[None]:
    part = mill.start_evaluator()
    yield
    part.stop(30)


@pytest.fixture
def sleeping_model(mill: BrowserSite) -> str:
    """A model that was served once and is not now."""
    sleepy = card("sleepy", context=8192, slots=4)
    Fleet(mill.client).publish(sleepy, b"")
    return sleepy.id


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    yield console
    assert [line for line in console.lines if not line.startswith(tuple(console.expected))] == []


@pytest.fixture
def context(mill: BrowserSite, chromium: Browser, console: Console) -> Iterator[BrowserContext]:
    """A browser that is logged in as a new tenant."""
    yield from _logged_in(mill, chromium, console, scripts=True)


@pytest.fixture
def plain_context(
    mill: BrowserSite, chromium: Browser, console: Console
) -> Iterator[BrowserContext]:
    """The same without JavaScript."""
    yield from _logged_in(mill, chromium, console, scripts=False)


def _logged_in(
    mill: BrowserSite, chromium: Browser, console: Console, scripts: bool
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
