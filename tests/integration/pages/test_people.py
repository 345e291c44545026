"""Keys, invitations and share links in the browser, and where a login leads."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.support.web import Site


def shown_secret(page: str) -> str:
    """What the page shows once."""
    found = re.search(r"<pre><code data-copy>([^<]+)</code></pre>", page)
    assert found
    return unescape(found[1])


def test_a_key_made_in_the_browser_works_and_is_shown_once(site: Site) -> None:
    made = site.browser.post("/people/keys", data={"name": "nightly <b>"})
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    key = shown_secret(made.text)
    assert site.call("GET", "/v1/jobs", key=key).status_code == 200
    page = site.look("/people")
    assert "nightly &lt;b&gt;" in page and key not in page


def test_a_key_revoked_in_the_browser_is_refused(site: Site) -> None:
    key = shown_secret(site.browser.post("/people/keys", data={"name": "x"}).text)
    key_id = key.split("_")[1]
    assert site.log_in("globex").post(f"/people/keys/{key_id}/revoke").status_code == 404
    assert site.call("GET", "/v1/jobs", key=key).status_code == 200
    assert site.browser.post(f"/people/keys/{key_id}/revoke").status_code == 303
    assert site.call("GET", "/v1/jobs", key=key).status_code == 401
    assert "revoked" in site.look("/people")


def test_an_invited_person_is_logged_in_and_sees_the_same_jobs(site: Site) -> None:
    job_id = site.submit("hello")
    link = shown_secret(site.browser.post("/people/invites", data={"name": "Grace"}).text)
    assert "Grace" in site.look("/people")
    guest = site.app.test_client()
    token = link.partition("token=")[2]
    assert token in guest.get(f"/login?token={token}").text
    assert guest.post("/login", data={"token": token}).status_code == 303
    assert job_id in guest.get("/jobs").text
    assert "Grace" not in site.look("/people")


def test_an_invitation_without_a_name_is_refused_at_its_form(site: Site) -> None:
    answer = site.browser.post("/people/invites", data={"name": "  "})
    assert answer.status_code == 422
    assert "say whom you invite" in answer.text


def share(site: Site, job_id: str) -> str:
    """The path of a new link to the job."""
    answer = site.browser.post(f"/jobs/{job_id}/shares", data={"name": "reviewers"})
    assert answer.status_code == 201
    return shown_secret(answer.text).partition("localhost")[2]


def test_a_shared_job_is_read_without_an_account_and_nothing_else_is(site: Site) -> None:
    job_id, other = site.submit("see <this>"), site.submit("not this")
    site.worker().run()
    guest = site.app.test_client()
    assert guest.get(f"/read/{job_id}").status_code == 404
    opened = guest.get(share(site, job_id))
    assert (opened.status_code, opened.headers["Location"]) == (303, f"/read/{job_id}")
    page = guest.get(f"/read/{job_id}").text
    assert "see &lt;this&gt;" in page and "said 0" in page
    # No button or form that changes something, and no way to other pages.
    assert "<form" not in page and 'href="/jobs' not in page
    assert "said 0" in guest.get(f"/read/{job_id}/items/0").text
    assert b"said 0" in guest.get(f"/read/{job_id}/results.csv").data
    # What would read other jobs is refused.
    assert guest.get(f"/read/{job_id}/results.csv?merge=retries").status_code == 422
    for path in (f"/read/{other}", f"/read/{job_id}/items/1"):
        missing = guest.get(path)
        assert missing.status_code == 404
        assert "Log out" not in missing.text and "acme" not in missing.text
    for path in (f"/jobs/{job_id}", "/jobs", "/v1/jobs", f"/v1/jobs/{job_id}", "/people"):
        assert guest.get(path).status_code == 401
    for path in (f"/jobs/{job_id}/cancel", f"/jobs/{job_id}/shares"):
        assert guest.post(path).status_code == 401


def test_a_revoked_link_shows_nothing_any_more(site: Site) -> None:
    job_id = site.submit("hello")
    guest = site.app.test_client()
    guest.get(share(site, job_id))
    (made,) = site.services.shares.of(job_id)
    path = f"/jobs/{job_id}/shares/{made.id}/revoke"
    assert site.log_in("globex").post(path).status_code == 404
    assert guest.get(f"/read/{job_id}").status_code == 200
    assert site.browser.post(path).status_code == 303
    assert guest.get(f"/read/{job_id}").status_code == 404


@pytest.mark.parametrize("path", ["/people", "/jobs?after=job_x", "/workers"])
def test_a_login_returns_to_where_one_was_going(site: Site, path: str) -> None:
    browser = site.app.test_client()
    assert browser.get(path).status_code == 401
    token = site.services.sessions.create_login("acme")
    answer = browser.post("/login", data={"token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    # Only once: the next login leads to the form again.
    browser.post("/logout")
    again = browser.post("/login", data={"token": site.services.sessions.create_login("acme")})
    assert again.headers["Location"] == "/"


@pytest.mark.parametrize(
    "kept", ["//evil.example", "/\\evil.example", "https://evil.example", "/\tx", "/ü", "evil"]
)
def test_a_login_never_leads_to_another_server(site: Site, kept: str) -> None:
    browser = site.app.test_client()
    browser.set_cookie("promptmill_next", kept)
    token = site.services.sessions.create_login("acme")
    assert browser.post("/login", data={"token": token}).headers["Location"] == "/"
