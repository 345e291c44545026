"""Tenants never see each other's evaluations, nor learn of each other's jobs through a gate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.scored_jobs import evaluate, finished_job
from tests.support.web import Answer, Web


def test_another_tenant_s_jobs_and_evaluations_are_not_found(web: Web) -> None:
    other = web.services.api_keys.create_key("other")
    job_id = finished_job(web)
    found = evaluate(web, job_id, {"chrf": [1, 2, 3]})
    theirs = web.post("/v1/jobs", key=other, json={"prompts": ["a"]}).json["id"]
    web.worker().run()

    def as_other(method: str, path: str, **more: Any) -> Answer:
        return web.call(method, path, key=other, **more)

    tried = [
        as_other("GET", f"/v1/evaluations/{found}"),
        as_other("GET", f"/v1/evaluations/{found}?wait=1"),
        as_other("GET", f"/v1/jobs/{job_id}/evaluations"),
        as_other("POST", f"/v1/jobs/{job_id}/evaluations", json={"metrics": ["chrf"]}),
        as_other("GET", f"/v1/jobs/{theirs}/items?evaluation={found}"),
        as_other("GET", f"/v1/jobs/{theirs}/results.csv?evaluation={found}"),
        as_other("GET", f"/v1/jobs/{theirs}/items?text=a&evaluation={found}"),
    ]
    assert [(answer.status_code, answer.json["code"]) for answer in tried] == [
        (404, "not_found")
    ] * len(tried)


@pytest.mark.parametrize("bad", ["job_0", "job_0:st", "x" * 64])
def test_a_baseline_that_is_another_s_is_answered_as_one_that_is_not_there(
    web: Web, bad: str
) -> None:
    other = web.services.api_keys.create_key("other")
    theirs = web.post("/v1/jobs", key=other, json={"prompts": ["a"]}).json["id"]
    web.worker().run()
    job_id = finished_job(web)

    def told(baseline: str) -> dict[str, Any]:
        rule = {"metric": "chrf", "baseline": baseline, "max_drop": 1}
        answer = web.post(f"/v1/jobs/{job_id}/evaluations", json={"gate": [rule]})
        assert answer.status_code == 404
        body: dict[str, Any] = answer.json | {"request_id": ""}
        return json.loads(json.dumps(body).replace(baseline, "BASELINE"))

    assert told(bad) == told(theirs)
    assert told(bad)["errors"][0]["field"] == "gate.0.baseline"


def test_the_tenant_s_own_baseline_is_kept_with_the_rule(web: Web) -> None:
    baseline, job_id = finished_job(web), finished_job(web)
    rule = {"metric": "chrf", "baseline": baseline, "max_drop": 1}
    answer = web.post(f"/v1/jobs/{job_id}/evaluations", json={"gate": [rule]})
    stored = web.services.evaluations.get(answer.json["id"]).asked.gate
    assert stored == [{**rule, "min": None, "max": None, "min_coverage": 0.95}]
