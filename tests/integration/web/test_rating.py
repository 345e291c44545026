"""Raters: their links open nothing else, and nothing tells them which job made a text."""

from __future__ import annotations

import logging
import re
from typing import Any, cast

import pytest
from flask.testing import FlaskClient

from common.store import raters as module
from common.store.raters import new_rater_id
from tests.support.people import finished, link, next_of, rate, rater, study_of
from tests.support.web import Web

OLD = {"X-Request-Id", "Date"}  # different in every answer
SHORT_AND_LONG = ("a short one", "a text of quite another length")


@pytest.fixture
def study(web: Web) -> str:
    return str(study_of(web, finished(web, "one"), finished(web, "two"))["id"])


def code_of(answer: Any) -> Any:
    return answer.json["code"]


def test_a_link_shows_a_button_and_uses_nothing_up(web: Web, study: str) -> None:
    _, secret = link(web, study)
    browser = web.app.test_client()
    for _ in range(2):
        opened = browser.get(f"/rate/open?token={secret}")
        assert opened.status_code == 200
        assert opened.headers["Referrer-Policy"] == "strict-origin"
        assert opened.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in opened.headers
        assert browser.get("/rate").status_code == 404
    pressed = browser.post("/rate/open", data={"token": secret})
    assert (pressed.status_code, pressed.headers["Location"]) == (303, "/rate")
    cookie = pressed.headers["Set-Cookie"]
    assert "Path=/rate;" in f"{cookie};" and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert browser.get("/rate").status_code == 200


def test_a_link_opens_nothing_else(web: Web, study: str) -> None:
    rater_id, secret = link(web, study)
    browser = web.app.test_client()
    browser.post("/rate/open", data={"token": secret})
    # Wherever a browser would send it: as a cookie of other paths, or as a key.
    browser.set_cookie("promptmill_rater", secret, path="/")
    for path in ("/v1/jobs", "/v1/studies", f"/v1/studies/{study}", "/jobs", "/", "/people"):
        for headers in ({}, {"Authorization": f"Bearer {secret}"}):
            assert browser.get(path, headers=headers).status_code == 401
    for path in (f"/v1/studies/{study}/raters/{rater_id}", f"/v1/studies/{study}"):
        assert browser.delete(path).status_code == 401
    for cookie in ("promptmill_session", "promptmill_share"):
        browser.set_cookie(cookie, secret, path="/")
        assert browser.get("/v1/jobs").status_code == 401


def test_a_rater_rates_their_own_study_only(web: Web, study: str) -> None:
    other = study_of(web, finished(web, "three"), finished(web, "four"))["id"]
    browser = rater(web, study)
    for _ in range(3):
        task = rate(browser, fluency="left")
        assert {task["left"][:3], task["right"][:3]} == {"one", "two"}
    assert next_of(browser) == {"task": None, "done": 3, "total": 3}
    assert web.get(f"/v1/studies/{other}").json["progress"]["done"] == 0


def test_links_are_in_no_log_and_only_their_digests_are_stored(
    web: Web, study: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, secret = link(web, study)
    browser = web.app.test_client()
    browser.get(f"/rate/open?token={secret}")
    browser.post("/rate/open", data={"token": secret})
    browser.get("/rate")
    assert "/rate/open" in caplog.text and secret not in caplog.text
    client = web.services.redis
    for key in client.scan_iter("pm:*"):
        assert secret.encode() not in key and secret.encode() not in client.dump(key)


def test_a_revoked_link_is_refused_at_once(web: Web, study: str) -> None:
    rater_id, secret = link(web, study)
    browser = web.app.test_client()
    browser.post("/rate/open", data={"token": secret})
    task = rate(browser, fluency="tie")
    assert web.call("DELETE", f"/v1/studies/{study}/raters/{rater_id}").status_code == 204
    for method, path in (
        ("GET", "/rate"),
        ("GET", f"/rate/open?token={secret}"),
        ("GET", "/rate/v1/rating/next"),
        ("DELETE", "/rate/v1/rating/last"),
        ("PUT", f"/rate/v1/rating/{task['task']}"),
    ):
        answer = browser.open(path, method=method, json={} if method == "PUT" else None)
        assert (answer.status_code, code_of(answer)) == (404, "not_found")
        assert "ask the person" in answer.text
    (person,) = web.get(f"/v1/studies/{study}").json["people"]
    assert person["revoked_at"] and person["done"] == 1


def test_links_of_a_closed_tenant_do_not_work(web: Web, study: str) -> None:
    browser = rater(web, study)
    for key in web.services.api_keys.keys_of("acme"):
        web.services.api_keys.revoke_key(key.id, "acme")
    assert browser.get("/rate/v1/rating/next").status_code == 404


def test_another_sites_page_cannot_rate(web: Web, study: str) -> None:
    browser = rater(web, study)
    task = next_of(browser)["task"]
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for method, path in (
        ("PUT", f"/rate/v1/rating/{task}"),
        ("DELETE", "/rate/v1/rating/last"),
        ("POST", "/rate"),
        ("POST", "/rate/undo"),
        ("POST", "/rate/open"),
    ):
        assert browser.open(path, method=method, headers=elsewhere).status_code == 403


def seen(answer: Any, *texts: str) -> tuple[Any, ...]:
    """Everything of an answer, with placeholders for the texts of outputs in the order in which
    they come."""
    body = answer.text
    places = sorted(texts, key=body.index)
    for place, text in enumerate(places):
        body = body.replace(text, f"<{place}>")
    headers = sorted(pair for pair in answer.headers.items() if pair[0] not in OLD)
    return answer.status_code, headers, body


def seen_of(web: Web, study: str, path: str, swapped: bool) -> tuple[Any, ...]:
    """What a rater sees of the first task, with its sides changed or not."""
    secret = web.services.raters.add(study, "acme", new_rater_id(), "Ada", swapped)
    browser = web.app.test_client()
    browser.post("/rate/open", data={"token": secret})
    assert next_of(browser)["left"] == SHORT_AND_LONG[swapped] + " 0"
    return seen(browser.get(path, headers={"Accept": "text/html"}), *SHORT_AND_LONG)


@pytest.mark.parametrize("path", ["/rate/v1/rating/next", "/rate"])
def test_nothing_differs_by_side_before_the_vote(web: Web, path: str) -> None:
    study = study_of(web, *(finished(web, text, rows=1) for text in SHORT_AND_LONG))["id"]
    one, other = (seen_of(web, study, path, swapped) for swapped in (False, True))
    assert one == other
    status, headers, body = one
    names = {name for name, _ in headers}
    assert status == 200 and not names & {"ETag", "Last-Modified", "Set-Cookie", "Location"}
    assert not re.search(r"job_|study_|rater_|echo", body)


def test_every_second_task_of_a_rater_shows_opposite_sides(web: Web) -> None:
    jobs = [finished(web, "one", rows=6), finished(web, "two", rows=6)]
    browser = rater(web, study_of(web, *jobs)["id"])
    first = [rate(browser, fluency="tie")["left"][:3] for _ in range(6)]
    assert first[0] != first[1] and first == first[:2] * 3


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({}, "missing_field"),
        ({"fluency": "left"}, "missing_field"),
        ({"fluency": "left", "truth": "up"}, "invalid_value"),
        ({"fluency": 3, "truth": "tie"}, "invalid_value"),
        ({"fluency": None, "truth": "tie"}, "invalid_value"),
        ({"fluency": "left", "truth": "tie", "other": "tie"}, "unknown_field"),
        ([], "wrong_type"),
    ],
)
def test_a_rating_answers_every_criterion_and_no_other(web: Web, answers: Any, code: str) -> None:
    jobs = [finished(web, "one"), finished(web, "two")]
    browser = rater(web, study_of(web, *jobs, criteria=["fluency", "truth"])["id"])
    task = next_of(browser)["task"]
    refused = browser.put(f"/rate/v1/rating/{task}", json=answers)
    assert (refused.status_code, code_of(refused)) == (422, code)


@pytest.mark.parametrize("value", [0, 6, 2.5, True, "3", "left"])
def test_a_scale_takes_whole_numbers_from_1_to_5(web: Web, value: Any) -> None:
    browser = rater(web, study_of(web, finished(web, "one"), kind="scale")["id"])
    task = next_of(browser)["task"]
    assert browser.put(f"/rate/v1/rating/{task}", json={"fluency": value}).status_code == 422


def test_a_whole_number_of_a_scale_may_have_a_fraction_of_zeros(web: Web) -> None:
    study = study_of(web, finished(web, "one"), kind="scale")["id"]
    rate(rater(web, study), fluency=4.0)
    fluency = web.get(f"/v1/studies/{study}").json["results"]["fluency"]
    assert fluency["jobs"][0]["counts"] == [0, 0, 0, 1, 0]
    (line,) = web.get(f"/v1/studies/{study}/export.jsonl").text.splitlines()
    assert '"answers":{"fluency":4}' in line


def test_errors_on_a_raters_page_are_meant_for_raters(web: Web) -> None:
    browser = rater(web, study_of(web, finished(web, "one"), kind="scale", criteria=["q"])["id"])
    task = next_of(browser)["task"]
    html = {"Accept": "text/html"}
    missing = browser.post("/rate", data={"task": task}, headers=html)
    wrong = browser.post("/rate", data={"task": task, "c0": "9"}, headers=html)
    for answer, message in ((missing, "missing is q;"), (wrong, "The answer to q must be")):
        assert answer.status_code == 422
        assert message in answer.text and "Your jobs" not in answer.text


def test_a_method_that_is_not_possible_names_those_of_the_very_path(web: Web, study: str) -> None:
    browser = rater(web, study)
    for path, possible in (("next", "GET"), ("last", "DELETE"), ("00001", "PUT")):
        answer = browser.post(f"/rate/v1/rating/{path}")
        assert answer.status_code == 405
        detail = cast(Any, answer.json)["detail"]
        assert detail == f"POST is not possible here; {possible} would be"
        assert possible in answer.headers["Allow"] and "PATCH" not in answer.headers["Allow"]


def test_tasks_that_are_not_theirs_cannot_be_rated(web: Web, study: str) -> None:
    browser = rater(web, study)
    given = next_of(browser)["task"]
    others = {"00000", "00001", "00002"} - {given}
    for task in (*others, "00009", "0", "%00", "last:x"):
        answer = browser.put(f"/rate/v1/rating/{task}", json={"fluency": "left"})
        assert answer.status_code == 404


def test_a_late_rating_that_others_gave_is_a_conflict(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [finished(web, "one", rows=1), finished(web, "two", rows=1)]
    study = study_of(web, *jobs, raters=1)["id"]
    slow, quick = rater(web, study, "slow"), rater(web, study, "quick")
    monkeypatch.setattr(module, "LEASE", 0)
    task = next_of(slow)["task"]
    monkeypatch.undo()
    rate(quick, fluency="left")
    late = slow.put(f"/rate/v1/rating/{task}", json={"fluency": "left"})
    assert (late.status_code, code_of(late)) == (409, "task_taken")
    again = slow.post("/rate", data={"task": task, "c0": "left"})
    assert again.headers["Location"] == "/rate?late=1"
    assert "was not kept" in quick.get("/rate?late=1").text or next_of(slow)["task"] is None


def press(browser: FlaskClient, **answers: str) -> None:
    """Fill in the page's form as a browser without scripts does."""
    page = browser.get("/rate").text
    found = re.search(r'name="task" value="(\d{5})"', page)
    assert found
    pressed = browser.post("/rate", data={"task": found[1], **answers})
    assert (pressed.status_code, pressed.headers["Location"]) == (303, "/rate")


def test_the_page_rates_without_scripts_and_ends_with_thanks(web: Web, study: str) -> None:
    browser = rater(web, study)
    press(browser, c0="left")
    assert "1 of 3" in browser.get("/rate").text
    assert browser.post("/rate/undo").status_code == 303
    assert "0 of 3" in browser.get("/rate").text
    assert browser.post("/rate/undo").status_code == 303
    for _ in range(3):
        press(browser, c0="tie")
    assert "Thank you" in browser.get("/rate").text
    fluency = web.get(f"/v1/studies/{study}").json["results"]["fluency"]
    assert fluency["votes"] == fluency["jobs"][0]["ties"] == 3


def test_the_page_takes_a_scale_and_several_criteria(web: Web) -> None:
    made = study_of(web, finished(web, "one"), kind="scale", criteria=["a b", "c"])
    browser = rater(web, made["id"])
    press(browser, c0="5", c1="skip")
    found = web.get(f"/v1/studies/{made['id']}").json["results"]
    assert (found["a b"]["jobs"][0]["mean"], found["c"]["skips"]) == (5.0, 1)
    page = browser.get("/rate").text
    task = re.search(r'name="task" value="(\d{5})"', page)
    assert task
    assert browser.post("/rate", data={"task": task[1], "c0": "9", "c1": "1"}).status_code == 422


def test_texts_of_a_model_are_shown_as_text(web: Web) -> None:
    nasty = "<script>alert(1)</script>"
    browser = rater(web, study_of(web, finished(web, nasty), kind="scale", criteria=[nasty])["id"])
    answer = browser.get("/rate")
    assert nasty not in answer.text and "&lt;script&gt;alert" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
