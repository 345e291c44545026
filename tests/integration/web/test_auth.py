"""Who may ask what: keys, sessions, and pages of other sites."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import pytest
from flask.testing import FlaskClient

from tests.support.web import Answer, Web
from web import auth


def log_in(web: Web, **headers: str) -> int:
    token = web.services.sessions.create_login("acme")
    return web.client.post("/login", data={"token": token}, headers=headers).status_code


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer pm_0_x", "Basic YTpi", f"Bearer pm_{'0' * 12}_{'a' * 43}"]
)
def test_without_a_good_key_nothing_is_told(web: Web, given: str | None) -> None:
    headers = {"Authorization": given} if given is not None else {}
    answer = cast(Answer, web.client.get("/v1/jobs", headers=headers))
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_route_of_the_api_asks_who_it_is(web: Web) -> None:
    for rule in web.app.url_map.iter_rules():
        if rule.rule.startswith("/v1/"):
            path = re.sub(r"<any\([^)]*\):form>", "csv", rule.rule).replace("<job_id>", "x")
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
                assert web.client.open(path, method=method).status_code == 401, path


def test_a_revoked_key_is_refused_at_once(web: Web) -> None:
    web.services.api_keys.revoke_key(web.key)
    assert web.get("/v1/jobs").status_code == 401


def test_a_login_link_works_once(web: Web) -> None:
    token = web.services.sessions.create_login("acme")
    first = web.client.post("/login", data={"token": token})
    again = web.app.test_client().post("/login", data={"token": token})
    assert (first.status_code, again.status_code) == (303, 401)
    assert web.client.get("/v1/jobs").status_code == 200


def test_opening_a_login_link_does_not_use_it_up(web: Web) -> None:
    token = web.services.sessions.create_login("acme")
    for _ in range(3):
        page = web.client.get(f"/login?token={token}")
        assert page.status_code == 200
        assert token in page.text
    assert web.client.post("/login", data={"token": token}).status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(web: Web) -> None:
    token = web.services.sessions.create_login("acme")
    cookie = web.client.post("/login", data={"token": token}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_cookie_that_was_changed_is_nobodys(web: Web) -> None:
    log_in(web)
    cookie = web.client.get_cookie("promptmill_session")
    assert cookie is not None
    web.client.set_cookie("promptmill_session", "x" + cookie.value)
    assert web.client.get("/v1/jobs").status_code == 401


def cookie_of(client: FlaskClient) -> str:
    cookie = client.get_cookie("promptmill_session")
    assert cookie is not None
    return cookie.value


def jobs_with(web: Web, cookie: str) -> int:
    """The answer to somebody who has this cookie, wherever from."""
    client = web.app.test_client()
    client.set_cookie("promptmill_session", cookie)
    return client.get("/v1/jobs").status_code


def test_logging_out_ends_the_session_and_every_copy_of_its_cookie(web: Web) -> None:
    log_in(web)
    copied = cookie_of(web.client)
    answer = web.client.post("/logout")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert web.client.get("/v1/jobs").status_code == 401
    assert jobs_with(web, copied) == 401


def test_logging_out_leaves_other_browsers_unless_it_is_asked_for_everywhere(web: Web) -> None:
    cookies = []
    for _ in range(3):
        log_in(web)
        cookies.append(cookie_of(web.client))
    web.client.post("/logout")
    assert [jobs_with(web, cookie) for cookie in cookies] == [200, 200, 401]
    web.client.set_cookie("promptmill_session", cookies[0])
    assert web.client.post("/logout", data={"everywhere": "yes"}).status_code == 303
    assert [jobs_with(web, cookie) for cookie in cookies] == [401, 401, 401]


def test_sessions_end_with_the_last_key_of_their_tenant(web: Web) -> None:
    log_in(web)
    web.services.api_keys.revoke_key(web.key)
    assert web.client.get("/v1/jobs").status_code == 401


def test_another_site_can_log_nobody_out(web: Web) -> None:
    log_in(web)
    assert web.client.post("/logout", headers={"Origin": "https://evil.example"}).status_code == 403
    assert web.client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("asks_with", ["key", "cookie"])
def test_finding_out_who_asks_takes_one_round_trip(web: Web, asks_with: str) -> None:
    log_in(web)
    headers = {"Authorization": f"Bearer {web.key}"} if asks_with == "key" else {}
    cookie = (
        {"Cookie": f"promptmill_session={cookie_of(web.client)}"} if asks_with == "cookie" else {}
    )
    with web.app.test_request_context("/v1/jobs", headers=headers | cookie):
        auth.grant()  # opens the connection
    before = web.services.redis.info("stats")["total_reads_processed"]
    with web.app.test_request_context("/v1/jobs", headers=headers | cookie):
        assert auth.tenant() == "acme"
    # One, and this question.
    assert web.services.redis.info("stats")["total_reads_processed"] - before <= 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 202),
        ({"Origin": "http://localhost"}, 202),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
    ],
)
def test_another_sites_page_cannot_act_for_who_is_logged_in(
    web: Web, headers: dict, status: int
) -> None:
    log_in(web)
    assert (
        web.client.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers).status_code == status
    )


PUBLIC = "https://queue.example.org"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": PUBLIC}, 202),
        ({"Origin": "http://localhost"}, 202),  # this very server, past the proxy
        ({"Origin": "https://localhost"}, 403),
        ({"Origin": "http://queue.example.org"}, 403),
        ({"Origin": f"{PUBLIC}:8443"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        # No proxy is trusted.
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}, 403),
    ],
)
def test_a_public_url_says_whose_pages_are_its_own(
    make_web: Callable[..., Web], headers: dict, status: int
) -> None:
    web = make_web(public_url=PUBLIC)
    log_in(web)
    # It is Secure; the client here speaks HTTP.
    web.client.set_cookie("promptmill_session", cookie_of(web.client))
    assert (
        web.client.post("/v1/jobs", json={"prompts": ["a"]}, headers=headers).status_code == status
    )


def test_the_host_that_a_trusted_proxy_tells_is_whose_pages_are_its_own(
    make_web: Callable[..., Web],
) -> None:
    web = make_web(trusted_proxies="127.0.0.1")
    log_in(web)
    said = {"X-Forwarded-Host": "queue.example.org", "X-Forwarded-Proto": "https"}
    for origin, status in ((PUBLIC, 202), ("http://localhost", 403)):
        answer = web.client.post(
            "/v1/jobs", json={"prompts": ["a"]}, headers=said | {"Origin": origin}
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("settings", "headers", "secure"),
    [
        ({}, {}, False),
        ({}, {"X-Forwarded-Proto": "https"}, False),  # anybody may say that
        ({"trusted_proxies": "127.0.0.1"}, {"X-Forwarded-Proto": "https"}, True),
        ({"trusted_proxies": "127.0.0.1"}, {"X-Forwarded-Proto": "http"}, False),
        ({"trusted_proxies": "10.0.0.0/8"}, {"X-Forwarded-Proto": "https"}, False),
        ({"public_url": "https://queue.example.org"}, {}, True),
        ({"public_url": "http://queue.example.org"}, {}, False),
    ],
)
def test_the_cookie_is_secure_where_browsers_come_by_tls(
    make_web: Callable[..., Web], settings: dict, headers: dict, secure: bool
) -> None:
    web = make_web(**settings)
    token = web.services.sessions.create_login("acme")
    for answer in (
        web.client.post("/login", data={"token": token}, headers=headers),
        web.client.post("/logout", headers=headers),
    ):
        assert ("; Secure" in answer.headers["Set-Cookie"]) == secure


def test_a_key_may_be_used_from_any_page(web: Web) -> None:
    answer = web.post(
        "/v1/jobs", json={"prompts": ["a"]}, headers={"Origin": "https://other.example"}
    )
    assert answer.status_code == 202


def test_another_site_cannot_log_somebody_in(web: Web) -> None:
    assert log_in(web, Origin="https://evil.example") == 403


def test_login_tokens_are_never_logged(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    web.client.get("/login?token=hunter2")
    assert "/login" in caplog.text
    assert "hunter2" not in caplog.text
