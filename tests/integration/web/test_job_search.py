"""Jobs are found by what was noted of them, state and model, in a bounded time; and what was noted
can be changed, also when they are over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web
from web.jobs import job_list


@pytest.fixture
def jobs(web: Web) -> dict[str, str]:
    """One in each state, by name."""
    web.services.fleet.publish(card("other"), b"")
    worker = web.worker()
    made: dict[str, str] = {}

    def submit(name: str, prompts: int = 2, **fields: Any) -> None:
        metadata = {"name": name, "team": "Straße"}
        fields = {"model": "echo", "metadata": metadata} | fields
        made[name] = web.submit(*"abcdef"[:prompts], **fields)

    submit("Completed")
    worker.run()
    submit("Half failed")
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    submit("Cancelled")
    web.post(f"/v1/jobs/{made['Cancelled']}/cancel")
    submit("Running", 6)
    worker.take(1)
    submit("Paused")
    web.post(f"/v1/jobs/{made['Paused']}/pause")
    submit("Elsewhere", model="other", metadata={})
    return made


def found(web: Web, jobs: dict[str, str], **query: str) -> list[str]:
    names = {job_id: name for name, job_id in jobs.items()}
    answer = web.get("/v1/jobs", query_string=query)
    assert answer.status_code == 200, answer.text
    return [names[job["id"]] for job in answer.json["data"]]


def test_jobs_are_found_by_state(web: Web, jobs: dict[str, str]) -> None:
    assert found(web, jobs, status="completed") == ["Half failed", "Completed"]
    assert found(web, jobs, status="failed") == ["Half failed"]
    assert found(web, jobs, status="cancelled") == ["Cancelled"]
    assert found(web, jobs, status="running") == ["Running"]
    assert found(web, jobs, status="paused") == ["Paused"]
    assert found(web, jobs, status="queued") == ["Elsewhere", "Paused"]
    assert found(web, jobs, status="expired") == []


def test_jobs_are_found_by_text_and_model_in_either_order(web: Web, jobs: dict[str, str]) -> None:
    assert found(web, jobs, search="COMPLETED") == ["Completed"]
    assert found(web, jobs, search=jobs["Paused"][4:]) == ["Paused"]
    assert found(web, jobs, search="strasse", status="failed") == ["Half failed"]
    assert found(web, jobs, model="other") == ["Elsewhere"]
    assert found(web, jobs, order="created") == list(jobs)
    assert found(web, jobs) == list(jobs)[::-1]


def test_a_search_goes_on_page_by_page(web: Web, jobs: dict[str, str]) -> None:
    after: dict[str, str] = {}
    seen = []
    while True:
        query = {"search": "strasse", "limit": "2", "order": "created"} | after
        answer = web.get("/v1/jobs", query_string=query).json
        seen += [job["id"] for job in answer["data"]]
        if not answer["has_more"]:
            break
        after = {"after": answer["after"]}
    assert seen == [job_id for name, job_id in jobs.items() if name != "Elsewhere"]


def test_a_search_that_takes_too_long_says_how_far_it_looked(
    web: Web, jobs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "BUDGET", -1.0)
    after: dict[str, str] = {}
    seen, looked = [], 0
    for _ in jobs:
        answer = web.get("/v1/jobs", query_string={"search": "completed"} | after).json
        seen += [job["metadata"]["name"] for job in answer["data"]]
        looked += answer["searched"] or 1
        after = {"after": answer["after"]}
    assert (seen, looked, answer["has_more"]) == (["Completed"], len(jobs), False)


@pytest.mark.parametrize(
    "query", ["status=lost", "order=size", "search=", "search=" + "x" * 201, "colour=red"]
)
def test_a_query_that_makes_no_sense_is_refused(web: Web, query: str) -> None:
    assert web.get(f"/v1/jobs?{query}").status_code == 422


def test_another_tenants_jobs_are_not_found(web: Web, jobs: dict[str, str]) -> None:
    other = web.services.api_keys.create_key("other")
    for query in ({"search": "completed"}, {"status": "failed"}, {"search": jobs["Paused"]}):
        answer = web.call("GET", "/v1/jobs", key=other, query_string=query)
        assert answer.json["data"] == []


def test_metadata_is_replaced_whatever_state_the_job_is_in(web: Web, jobs: dict[str, str]) -> None:
    for name, job_id in jobs.items():
        metadata = {"name": f"New {name}", "n": 1, "none": None}
        answer = web.call("PATCH", f"/v1/jobs/{job_id}", json={"metadata": metadata})
        assert answer.status_code == 200, answer.text
        assert answer.json["metadata"] == web.get(f"/v1/jobs/{job_id}").json["metadata"]
        assert answer.json["metadata"]["name"] == f"New {name}"
        assert "team" not in answer.json["metadata"]
    assert found(web, jobs, search="new paused") == ["Paused"]
    assert found(web, jobs, search="strasse") == []


def test_the_rest_of_a_job_that_is_over_stays(web: Web, jobs: dict[str, str]) -> None:
    path = f"/v1/jobs/{jobs['Completed']}"
    answer = web.call("PATCH", path, json={"metadata": {"name": "x"}, "priority": 3})
    assert answer.status_code == 409
    assert web.get(path).json["metadata"]["name"] == "Completed"


def test_metadata_keeps_its_limits_and_its_owner(web: Web, jobs: dict[str, str]) -> None:
    path = f"/v1/jobs/{jobs['Paused']}"
    for metadata in ({str(i): 1 for i in range(17)}, {"x": "y" * 20_000}, "x", {"x": "\x00\ud800"}):
        assert web.call("PATCH", path, json={"metadata": metadata}).status_code in (400, 422)
    other = web.services.api_keys.create_key("other")
    answer = web.call("PATCH", path, key=other, json={"metadata": {"name": "mine"}})
    assert answer.status_code == 404
    assert web.get(path).json["metadata"]["name"] == "Paused"


def test_a_rerun_and_a_retry_take_the_new_name(web: Web, jobs: dict[str, str]) -> None:
    path = f"/v1/jobs/{jobs['Half failed']}"
    web.call("PATCH", path, json={"metadata": {"name": "Renamed"}})
    for action in ("retry", "rerun"):
        made = web.post(f"{path}/{action}", **({"json": {}} if action == "rerun" else {}))
        assert made.json["metadata"] == {"name": "Renamed"}, made.text


def test_names_are_found_however_their_accents_are_encoded(web: Web) -> None:
    names = ("Re\u0301sume\u0301.csv", "r\u00c9sum\u00e9")
    made = [web.submit("a", metadata={"name": name}) for name in names]
    for typed in ("r\u00e9sum\u00e9", "R\u00c9", "sume\u0301"):
        answer = web.get("/v1/jobs", query_string={"search": typed}).json
        assert [job["id"] for job in answer["data"]] == made[::-1]
