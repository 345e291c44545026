"""The pages as a browser sees them, logged in by cookie, with a worker that hands in results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.settings import Settings
from tests.support.web import Site


@pytest.fixture
def make_site(redis_url: str) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        made.append(Site(Settings.load(redis_url=redis_url, **settings)))
        return made[-1]

    yield make
    for site in made:
        site.services.watches.close()
        site.services.grammars.end()
        site.services.redis.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
