"""The pages as a browser sees them: logged in by cookie, on a real server, with a worker that hands
in results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from common.settings import Settings
from tests.integration.web.conftest import Web


class Site(Web):
    """A browser that is logged in as the tenant `acme`."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.browser = self.log_in("acme")

    def log_in(self, tenant: str) -> FlaskClient:
        browser = self.app.test_client()
        answer = browser.post("/login", data={"token": self.services.accounts.create_login(tenant)})
        assert answer.status_code == 303
        return browser

    def look(self, path: str) -> str:
        """A page's HTML."""
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, action: str = "submit", **fields: Any) -> TestResponse:
        """Press a button of the form. Double underscores are dots: `params__n="2"`."""
        typed = {name.replace("__", "."): value for name, value in fields.items()}
        return self.browser.post("/", data={"action": action, "prompts": "hello there", **typed})


@pytest.fixture
def make_site(redis_url: str) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        made.append(Site(Settings.load(redis_url=redis_url, **settings)))
        return made[-1]

    yield make
    for site in made:
        site.services.changes.close()
        site.services.redis.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
