"""Browsers get every error as a page, programs as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.web import Site


def test_what_is_not_there_is_a_page(site: Site) -> None:
    for path in (
        "/jobs/job_0nothing",
        "/?like=job_0nothing",
        f"/jobs/{site.submit('hello')}/items/7",
    ):
        answer = site.browser.get(path)
        assert answer.status_code == 404
        assert "Not found" in answer.text


CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", CHROMIUM, FIREFOX])
def test_browsers_get_every_error_as_a_page_and_programs_as_before(site: Site, accept: Any) -> None:
    problem, openai = "application/problem+json", "application/json"
    paths = {
        "/nowhere": problem,
        "/v1/jobs/job_0nothing": problem,
        "/v1/nowhere": openai,
        "/v1/models/x": openai,
    }
    for path, mimetype in paths.items():
        answer = site.browser.get(path, headers={"Accept": accept})
        assert answer.status_code == 404
        assert "Not found" in answer.text
        assert answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-Id"]
        assert site.browser.get(path, headers={"Accept": "*/*"}).mimetype == mimetype


def test_without_redis_pages_ask_to_try_again(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    monkeypatch.setattr(site.services.redis, "execute_command", _away)
    answer = site.browser.get("/jobs")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Try again" in answer.text


def _away(*_args: object, **_options: object) -> None:
    import redis

    raise redis.ConnectionError("away")
