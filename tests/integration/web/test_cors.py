"""Which sites' pages may call the API from a browser, and with what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from common.errors import ConfigError
from common.settings import Settings
from tests.support.web import Web

HOME = "https://app.example.org"
ASKED = "authorization, content-type, idempotency-key, last-event-id, x-stainless-os"


def preflight(web: Web, path: str, origin: str = HOME, method: str = "POST") -> TestResponse:
    """As a browser sends it: without a key."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ASKED,
    }
    return web.client.options(path, headers=headers)


@pytest.mark.parametrize(
    "origins", [HOME, "https://other.example, HTTPS://App.Example.org:443/", "*"]
)
def test_a_page_of_a_named_origin_may_call_every_path_of_the_api(
    make_web: Callable[..., Web], origins: str
) -> None:
    web = make_web(cors_origins=origins)
    for path in web.get("/openapi.json").json["paths"]:
        path = path.replace("{", "").replace("}", "")
        answer = preflight(web, path)
        if path.startswith("/rate/"):  # with a cookie only, which no other site's page may use
            assert "Access-Control-Allow-Origin" not in answer.headers
            continue
        assert answer.status_code == 204, path
        assert answer.headers["Access-Control-Allow-Origin"] == ("*" if origins == "*" else HOME)
        allowed = {
            name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")
        }
        assert allowed >= set(ASKED.split(", "))
    methods = set(
        preflight(web, "/v1/jobs/job_0").headers["Access-Control-Allow-Methods"].split(", ")
    )
    assert methods >= {"GET", "PATCH", "DELETE"}


def test_a_page_reads_the_answer_its_headers_and_its_errors(make_web: Callable[..., Web]) -> None:
    web = make_web(cors_origins=HOME)
    for path, status in (
        ("/v1/models", 200),
        ("/v1/jobs/job_0", 404),
        ("/v1/nothing", 404),
        ("/v1/jobs/", 200),
    ):
        answer = web.get(path, headers={"Origin": HOME})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == HOME
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answer.headers["Vary"]
    # 401.
    assert (
        web.client.get("/v1/models", headers={"Origin": HOME}).headers[
            "Access-Control-Allow-Origin"
        ]
        == HOME
    )


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.org.evil.example", "null", "*", ""]
)
def test_other_origins_are_told_nothing(make_web: Callable[..., Web], origin: str) -> None:
    web = make_web(cors_origins=HOME)
    for answer in (
        preflight(web, "/v1/jobs", origin),
        web.get("/v1/models", headers={"Origin": origin}),
    ):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_cookies_are_never_allowed_and_pages_are_no_part_of_it(
    make_web: Callable[..., Web],
) -> None:
    web = make_web(cors_origins="*")
    for answer in (preflight(web, "/v1/jobs"), web.get("/v1/models", headers={"Origin": HOME})):
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for answer in (preflight(web, "/login"), web.get("/jobs", headers={"Origin": HOME})):
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_the_setting_nobody_is_allowed(web: Web) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(web, "/v1/jobs").headers
    assert preflight(web, "/v1/jobs").headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_odd_names_of_headers_are_not_repeated(make_web: Callable[..., Web]) -> None:
    web = make_web(cors_origins="*")
    asked = {
        "Origin": HOME,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "a b, x;y, ok",
    }
    told = web.client.options("/v1/jobs", headers=asked).headers["Access-Control-Allow-Headers"]
    assert told == "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, ok"


@pytest.mark.parametrize(
    "value",
    [
        "app.example.org",
        "https://a.example/path",
        "https://u@a.example",
        "null",
        "*, https://a.example",
        "http://",
    ],
)
def test_what_is_no_origin_is_refused_at_start_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="PROMPTMILL_CORS_ORIGINS"):
        Settings.load(cors_origins=value)
