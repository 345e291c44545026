"""The web tier in this process, with a model's card and a worker that hands in results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.settings import Settings
from tests.support.cards import card
from tests.support.scored import FEATURES
from tests.support.web import Web
from tests.support.web_process import WebProcess


@pytest.fixture
def make_web(redis_url: str) -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def make(**settings: Any) -> Web:
        made.append(Web(Settings.load(redis_url=redis_url, **settings)))
        return made[-1]

    yield make
    for web in made:
        web.services.watches.close()
        web.services.grammars.end()
        web.services.redis.close()


@pytest.fixture
def web(make_web: Callable[..., Web]) -> Web:
    return make_web()


@pytest.fixture
def server(running: WebProcess, web: Web) -> WebProcess:
    """The module's `running` server, used by the tenant of `web`."""
    running.use(web.key)
    return running


@pytest.fixture
def scoring(web: Web) -> Web:
    """Its model can score texts."""
    web.card = card(features=FEATURES)
    web.services.fleet.publish(web.card, b"")
    return web
