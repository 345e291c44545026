"""What is told of a job, and can be done with it, while it waits for the rows of others."""

from __future__ import annotations

from tests.support.derived import answer_all, derive, derived, job, settle
from tests.support.web import Web


def test_everything_of_a_waiting_job_can_be_looked_at(web: Web) -> None:
    made = derived(web, web.submit("a"))
    paths = ["", "?wait=1", "/items", "/items?state=failed", "/items?order=-finished", "/summary"]
    paths += ["/errors", "/results.jsonl", "/results.csv", "/results.parquet", "/evaluations"]
    for path in paths:
        answer = web.get(f"/v1/jobs/{made}{path}")
        assert answer.status_code == 200, (path, answer.text)
    assert web.post(f"/v1/jobs/{made}/retry").status_code == 409
    assert web.post(f"/v1/jobs/{made}/rerun").json["code"] == "nothing_to_rerun"
    more = web.post(f"/v1/jobs/{made}/items", json={"items": [{"vars": {"output": "x"}}]})
    assert (more.status_code, more.json["code"]) == (409, "job_waiting")
    edited = web.call("PATCH", f"/v1/jobs/{made}", json={"priority": 2, "metadata": {"name": "n"}})
    assert (edited.json["priority"], edited.json["metadata"]) == (2, {"name": "n"})


def test_its_webhook_is_told_of_an_end_without_items(web: Web) -> None:
    source = web.submit("a")
    made = derived(web, source, webhook={"url": "http://127.0.0.1:9/"})
    web.post(f"/v1/jobs/{source}/cancel")
    settle(web)
    (event,) = job(web, made)["webhooks"]
    assert event["type"] == "job.finished"


def test_events_tell_when_it_gets_its_items(web: Web) -> None:
    source = web.submit("a")
    made = derived(web, source)
    answer_all(web, "x")
    settle(web)
    answer_all(web, "y")
    told = web.get(f"/v1/jobs/{made}/events").text
    assert '"text":"y"' in told and "event: job.finished" in told


def test_it_is_evaluated_by_its_own_metrics_when_it_ends(web: Web) -> None:
    source = web.submit("a")
    asked = {"metrics": ["perplexity", "length_chars"]}
    assert derive(web, source, **asked).status_code == 422
    made = derived(web, source, **asked, params={"logprobs": 0})
    cancelled = derived(web, source, metrics=["length_chars"])
    web.post(f"/v1/jobs/{cancelled}/cancel")
    assert web.get(f"/v1/jobs/{cancelled}/evaluations").json["data"] == []
    answer_all(web, "x")
    settle(web)
    answer_all(web, "y")
    (evaluation,) = web.get(f"/v1/jobs/{made}/evaluations").json["data"]
    assert evaluation["status"] == "queued"
