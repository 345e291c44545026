"""Laws of the pages: private, escaped, strict about scripts, and as useful without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.web import Site


@pytest.mark.parametrize("path", ["base.css", "form.js", "live.js", "logo.svg"])
def test_assets_are_served(site: Site, path: str) -> None:
    with site.browser.get(f"/static/{path}") as answer:
        assert answer.status_code == 200


def test_the_list_of_jobs_says_what_is_kept_and_what_may_be(make_site: Callable[..., Site]) -> None:
    site = make_site(max_stored_bytes=3 * 2**30)
    site.services.redis.hset("pm:stored:acme", mapping={"jobs": 2**20, "files": 2**19})
    assert "take 1.5 MiB of 3 GiB." in site.look("/jobs")
    assert "take 1.5 MiB." in make_site(max_stored_bytes=0).look("/jobs")


@pytest.mark.parametrize("path", ["/", "/jobs", "/workers", "/nothing", "/static/base.css"])
def test_pages_are_compressed(site: Site, path: str) -> None:
    headers = {"Accept-Encoding": "gzip", "Accept": "text/html"}
    with site.browser.get(path, headers=headers, buffered=True) as answer:
        is_small = int(answer.headers.get("Content-Length", 10_000)) < 1024
        assert answer.headers.get("Content-Encoding") == "gzip" or is_small
