"""Everything under a path: pages, redirects, cookies, links and the specification, however the
proxy hands it on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from common.errors import ConfigError
from common.settings import Settings
from tests.support.web import Web
from web.app import create_app

PUBLIC = "https://example.org/some/mill"
PREFIX = "/some/mill"
ADDRESS = re.compile(r'(?:href|src|action|data-live|data-events)="([^"#][^"]*)"')


@pytest.fixture
def mill(make_web: Callable[..., Web]) -> Web:
    return make_web(public_url=PUBLIC)


@pytest.fixture(params=["handed on", "cut off"])
def before(request: pytest.FixtureRequest) -> str:
    """What stands before a path as the proxy sends it."""
    return PREFIX if request.param == "handed on" else ""


def logged_in(web: Web, before: str) -> FlaskClient:
    browser = web.app.test_client()
    token = web.services.sessions.create_login("acme")
    answer = browser.post(
        f"{before}/login", data={"token": token}, headers={"Origin": "https://example.org"}
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PREFIX}/")
    assert "; Path=/some/mill" in answer.headers["Set-Cookie"]
    value = answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    # For every path: the client here knows no proxy.
    browser.set_cookie("promptmill_session", value)
    return browser


def test_every_address_on_a_page_has_the_prefix_and_leads_somewhere(mill: Web, before: str) -> None:
    job_id = mill.submit(*["a"] * 60)
    browser = logged_in(mill, before)
    seen = set()
    for page in (
        "/",
        "/jobs",
        f"/jobs/{job_id}",
        f"/jobs/{job_id}/trial",
        f"/jobs/{job_id}/items/1",
        "/workers",
    ):
        answer = browser.get(before + page)
        assert answer.status_code == 200
        seen |= set(ADDRESS.findall(answer.text))
        assert page != f"/jobs/{job_id}" or f"curl {PUBLIC}/v1/jobs" in answer.text
    assert {
        f"{PREFIX}/static/job.js",
        f"{PREFIX}/v1/jobs/{job_id}/results.jsonl",
        f"{PREFIX}/jobs?",
    } <= seen
    assert [address for address in seen if not address.startswith(f"{PREFIX}/")] == []
    for address in seen:
        path = address.replace("&amp;", "&").removeprefix(PREFIX)
        if "events" not in path:  # a stream, which would go on
            with browser.get(before + path) as found:
                assert found.status_code in (200, 303, 405), address


def test_the_page_that_is_shown_is_marked(mill: Web, before: str) -> None:
    assert (
        f'href="{PREFIX}/jobs" aria-current="page"'
        in logged_in(mill, before).get(f"{before}/jobs").text
    )


def test_redirects_and_logging_out_stay_under_the_prefix(mill: Web, before: str) -> None:
    browser = logged_in(mill, before)
    made = browser.post(f"{before}/", data={"action": "submit", "prompts": "hello"})
    assert made.status_code == 303
    assert made.headers["Location"].startswith(f"{PREFIX}/jobs/job_")
    out = browser.post(f"{before}/logout")
    assert out.headers["Location"] == f"{PREFIX}/login"
    assert "; Path=/some/mill" in out.headers["Set-Cookie"]


def test_links_and_the_specification_name_the_public_url(mill: Web, before: str) -> None:
    made = mill.post(f"{before}/v1/jobs", json={"prompts": ["a"]})
    assert made.headers["Location"] == f"{PUBLIC}/v1/jobs/{made.json['id']}"
    assert all(link.startswith(f"{PUBLIC}/") for link in made.json["links"].values())
    assert mill.get(f"{before}/openapi.json").json["servers"] == [{"url": PUBLIC}]
    assert mill.get(f"{before}/v1/chat").status_code == 404


def test_the_prefix_alone_is_the_form(mill: Web) -> None:
    assert logged_in(mill, PREFIX).get(PREFIX).status_code == 200


def test_what_only_begins_like_the_prefix_is_nothing(mill: Web) -> None:
    assert mill.get("/some/millstone/v1/jobs").status_code == 404


def test_without_a_path_the_cookie_is_the_whole_hosts(web: Web) -> None:
    token = web.services.sessions.create_login("acme")
    assert (
        "; Path=/;" in web.client.post("/login", data={"token": token}).headers["Set-Cookie"] + ";"
    )
    assert web.get("/openapi.json").json["servers"] == [{"url": "http://localhost"}]


def test_nobody_chooses_the_servers_that_the_specification_tells_others(web: Web) -> None:
    for host in ("evil.example", "queue.example.org"):
        assert web.get("/openapi.json", headers={"Host": host}).json["servers"] == [
            {"url": f"http://{host}"}
        ]


@pytest.mark.parametrize("path", ["v1", "jobs", "static/x", "login", "metrics"])
def test_a_path_of_the_web_tiers_own_is_refused_as_prefix(path: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"PROMPTMILL_PUBLIC_URL=.*must not begin with /{path.split('/')[0]}"
    ):
        create_app(Settings.load(public_url=f"https://example.org/{path}"))
