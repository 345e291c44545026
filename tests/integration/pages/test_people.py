"""Keys, invitations and share links in the browser, and where a login leads."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from tests.support.judged_jobs import judge
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


def open_link(site: Site, job_id: str) -> FlaskClient:
    """A browser that has opened a link to a job, and has no account."""
    guest = site.app.test_client()
    assert guest.get(share(site, job_id)).status_code == 303
    return guest


def judged_job(site: Site, score: float = 0.625, **rule: object) -> tuple[str, str]:
    """A job of one item with a reference, and its evaluation, with a gate."""
    items = [{"prompt": "see this", "reference": "said <0>"}]
    job_id = str(site.post("/v1/jobs", json={"items": items, "evaluate": False}).json["id"])
    site.worker().run()
    verdict = {"metric": "rouge_l", "status": "undecided", "reason": "too_few"}
    gate = {"status": "undecided", "rules": [verdict]}
    rules = [{"metric": "rouge_l", **(rule or {"min": 0.5})}]
    redis = site.services.redis
    return job_id, judge(redis, job_id, "acme", {"rouge_l": [score]}, gate, rules)


def test_a_reader_sees_the_scores_of_the_job_and_no_other_job(site: Site) -> None:
    baseline, _ = judged_job(site)
    job_id, _ = judged_job(site, baseline=baseline, max_drop=0.1)
    guest = open_link(site, job_id)
    page = guest.get(f"/read/{job_id}").text
    assert 'id="metric-rouge_l"' in page
    assert '<td class="right num score" data-label="rouge_l">0.625</td>' in page
    assert "rouge_l is at most 0.100 worse than that of another job" in page
    assert baseline in site.look(f"/jobs/{job_id}") and baseline not in page
    # The bars are drawn, and lead nowhere: the list of a reader cannot be filtered.
    assert 'class="histogram"' in page and "least=" not in page
    assert "<form" not in page
    links = set(re.findall(r'<a [^>]*href="([^"]+)"', page)) - {"/", "#main"}
    assert {link for link in links if not link.startswith(f"/read/{job_id}/")} == set()
    item = guest.get(f"/read/{job_id}/items/0").text
    assert "<code>rouge_l</code></dt><dd>0.625</dd>" in item and "said &lt;0&gt;" in item


def test_a_reader_reaches_the_scores_of_no_other_job(site: Site) -> None:
    (mine, own), (other, foreign) = judged_job(site), judged_job(site, 0.875)
    guest = open_link(site, mine)
    assert guest.get(f"/read/{mine}/results.csv?evaluation={own}").status_code == 200
    assert guest.get(f"/read/{mine}/results.csv?evaluation={foreign}").status_code == 404
    assert guest.get(f"/read/{other}").status_code == 404
    assert "0.875" not in guest.get(f"/read/{mine}?evaluation={foreign}").text
    for path in (
        f"/v1/jobs/{mine}/evaluations",
        f"/v1/evaluations/{own}",
        f"/v1/comparisons?jobs={mine},{other}",
        f"/compare?jobs={mine},{other}",
    ):
        assert guest.get(path).status_code == 401
    assert guest.post(f"/v1/jobs/{mine}/evaluations", json={}).status_code == 401


def test_another_tenant_reads_a_job_with_its_scores_only_by_the_link(site: Site) -> None:
    job_id, evaluation = judged_job(site)
    key = site.services.api_keys.create_key("another")
    there = {"headers": {"Authorization": f"Bearer {key}"}}
    guest = site.app.test_client()
    for path in (
        f"/read/{job_id}",
        f"/read/{job_id}/items/0",
        f"/read/{job_id}/results.csv?evaluation={evaluation}",
        f"/v1/evaluations/{evaluation}",
    ):
        assert guest.get(path, **there).status_code == 404
    assert guest.get(share(site, job_id), **there).status_code == 303
    assert "0.625" in guest.get(f"/read/{job_id}", **there).text
    assert guest.get(f"/v1/evaluations/{evaluation}", **there).status_code == 404
