"""Comparisons over the API."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from common.store.comparisons import Comparisons
from tests.support.compared import Judged, compare_all, evaluate
from tests.support.web import Answer, Site

GOOD, BAD, OTHER = "the cat sat on the mat", "a dog ran far", "the cat sat on a mat"


def compare(site: Site, *jobs: str, rows: str = "", **query: Any) -> Answer:
    """Ask for it, compute it, and ask again."""
    path = f"/v1/comparisons{rows}"
    asked = {"jobs": ",".join(jobs), **query}
    site.get(path, query_string=asked)
    compare_all(site.services.redis)
    return site.get(path, query_string=asked)


def rows(site: Site, *jobs: str, **query: Any) -> Any:
    answer = compare(site, *jobs, rows="/rows", **query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_it_is_computed_once_and_told_when_it_is_done(site: Site, judged: Judged) -> None:
    one, other = judged([BAD] * 25), judged([GOOD] * 25)
    first = site.get(f"/v1/comparisons?jobs={one},{other}")
    assert (first.status_code, first.json["status"]) == (202, "running")
    assert int(first.headers["Retry-After"]) > 0
    assert [job["id"] for job in first.json["jobs"]] == [one, other]
    assert compare_all(site.services.redis) == 1
    found = site.get(f"/v1/comparisons?jobs={one},{other}")
    assert found.status_code == 200
    assert compare_all(site.services.redis) == 0
    rouge, length = found.json["metrics"]
    assert (rouge["metric"], rouge["n"], length["better"]) == ("rouge_l", 25, None)
    apart = rouge["jobs"][1]["difference"]
    assert apart["value"] == pytest.approx(1.0)
    assert (apart["wins"], apart["ties"], apart["losses"]) == (25, 0, 0)
    assert rouge["jobs"][0] == {"job": one, "value": 0.0, "difference": None}
    assert found.json["matched"] == {
        "by": "custom_id",
        "reason": None,
        "rows": 25,
        "succeeded": 25,
        "changed": 25,
        "unmatched": [0, 0],
        "unlike_references": 0,
    }
    assert found.json["links"]["page"].endswith(f"/compare?jobs={one},{other}")


def test_rows_with_unlike_references_are_counted(site: Site, judged: Judged) -> None:
    one, same = judged([GOOD] * 3, reference=GOOD), judged([BAD] * 3, reference=GOOD)
    other = judged([BAD] * 3, reference=BAD)
    for jobs, unlike in ((one, same), 0), ((one, other), 3), ((one, same, other), 3):
        compare(site, *jobs)
        compare_all(site.services.redis)
        assert compare(site, *jobs).json["matched"]["unlike_references"] == unlike


def test_retries_are_named_and_not_merged(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD, None]), judged([GOOD, GOOD])
    retry = site.post(f"/v1/jobs/{one}/retry").json["id"]
    site.worker().say({"text": GOOD})
    compare(site, one, other)
    compare_all(site.services.redis)
    found = compare(site, one, other).json
    assert [job["retries"] for job in found["jobs"]] == [[retry], []]
    assert (found["matched"]["succeeded"], found["metrics"][0]["n"]) == (1, 1)


def test_a_client_may_wait_for_it(site: Site, judged: Judged) -> None:
    one, other = judged([BAD]), judged([GOOD])

    def compute() -> None:
        while compare_all(site.services.redis) == 0:
            time.sleep(0.01)

    thread = threading.Thread(target=compute)
    thread.start()
    answer = site.get(f"/v1/comparisons?jobs={one},{other}&wait=60")
    thread.join()
    assert (answer.status_code, answer.json["status"]) == (200, "done")


def test_settings_that_differ_are_told(site: Site, judged: Judged) -> None:
    one = judged([GOOD], params={"temperature": 0.5, "max_tokens": 9})
    other = judged([GOOD], params={"temperature": 1, "max_tokens": 9, "top_k": 3})
    found = compare(site, one, other).json["settings"]
    assert {each["name"]: each["values"] for each in found} == {
        "params.temperature": [0.5, 1.0],
        "params.top_k": [0, 3],
    }


def test_a_value_that_is_the_default_is_no_difference(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD], params={"n": 1}), judged([GOOD])
    assert compare(site, one, other).json["settings"] == []


def test_templates_and_other_weights_are_told(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD]), judged([GOOD])
    site.services.redis.hset(f"pm:job:{other}", "digest", "other-weights")
    site.services.redis.hset(f"pm:job:{other}:prep", "template", '{"prompt": "{{x}}"}')
    site.services.redis.hset(f"pm:job:{other}:prep", "preset", '"mine@2"')
    found = {each["name"]: each["values"] for each in compare(site, one, other).json["settings"]}
    assert found["digest"] == [site.card.digest, "other-weights"]
    assert found["preset"] == [None, "mine@2"]
    assert found["template"] == [None, {"prompt": "{{x}}"}]


def test_a_new_evaluation_is_a_new_comparison(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD]), judged([BAD])
    compare(site, one, other)
    evaluate(site.services.redis, other, ["exact_match", "rouge_l"], "acme")
    evaluate(site.services.redis, one, ["exact_match", "rouge_l"], "acme")
    again = site.get(f"/v1/comparisons?jobs={one},{other}")
    assert again.status_code == 202
    metrics = compare(site, one, other).json["metrics"]
    assert [each["metric"] for each in metrics] == ["exact_match", "rouge_l"]


def test_jobs_that_are_not_over_or_not_evaluated_are_refused_by_name(
    site: Site, judged: Judged
) -> None:
    done, bare = judged([GOOD]), judged([GOOD], metrics=())
    waiting = site.submit("one")
    answer = site.get(f"/v1/comparisons?jobs={done},{waiting}")
    assert (answer.status_code, answer.json["code"]) == (409, "job_not_over")
    assert waiting in answer.json["detail"] and done not in answer.json["detail"]
    answer = site.get(f"/v1/comparisons?jobs={done},{bare}")
    assert (answer.status_code, answer.json["code"]) == (409, "not_evaluated")
    assert f"POST /v1/jobs/{bare}/evaluations" in answer.json["detail"]
    assert done not in answer.json["detail"]


def test_another_tenants_job_is_as_one_that_is_not_there(site: Site, judged: Judged) -> None:
    mine = judged([GOOD])
    other = site.services.api_keys.create_key("other")
    theirs = judged([GOOD])
    for path in ("/v1/comparisons", "/v1/comparisons/rows"):
        for jobs in (f"{mine},{theirs}", f"{theirs},{theirs}"):
            answer = site.get(path, query_string={"jobs": jobs}, key=other)
            assert answer.status_code == 404
            missing = site.get(path, query_string={"jobs": "job_0none,job_0none"}, key=other)
            assert missing.status_code == 404
            assert answer.json["code"] == missing.json["code"]


@pytest.mark.parametrize("part", [":st", ":out", ":comparisons", "%00", "x" * 80])
def test_no_id_reaches_a_part_of_anothers_record(site: Site, judged: Judged, part: str) -> None:
    one, other = judged([GOOD]), judged([BAD])
    compare(site, one, other)
    for key in (site.key, site.services.api_keys.create_key("other")):
        for path in ("/v1/comparisons", "/v1/comparisons/rows"):
            answer = site.get(f"{path}?jobs={one}{part},{other}{part}", key=key)
            assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    "query",
    ["", "jobs=", "jobs=job_a", "jobs=a,b,c,d,e", "jobs=a,b&wait=61", "jobs=a,b&x=1", "jobs=,a,"],
)
def test_bad_queries_are_refused(site: Site, query: str) -> None:
    answer = site.get(f"/v1/comparisons?{query}")
    assert answer.status_code == 422, answer.text


def test_a_comparison_that_failed_says_so_and_is_tried_again(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD]), judged([BAD])
    site.get(f"/v1/comparisons?jobs={one},{other}")
    comparisons = Comparisons(site.services.redis)
    claimed = comparisons.claim()
    assert claimed is not None
    comparisons.fail(claimed)
    answer = site.get(f"/v1/comparisons?jobs={one},{other}")
    assert (answer.status_code, answer.json["code"]) == (503, "comparison_failed")
    site.services.redis.delete(f"pm:comparison:{claimed.id}")  # as half a minute later
    assert compare(site, one, other).status_code == 200


def test_rows_have_outputs_scores_and_the_difference(site: Site, judged: Judged) -> None:
    one, other = judged([BAD, GOOD, None]), judged([GOOD, GOOD, GOOD])
    found = rows(site, one, other)
    assert (found["status"], found["metric"], found["has_more"]) == ("done", "rouge_l", False)
    first, second, third = found["data"]
    assert first["custom_id"] == "c0"
    assert first["index"] == {one: 0, other: 0}
    assert first["outputs"] == {one: [BAD], other: [GOOD]}
    assert first["scores"][other] == {"rouge_l": 1.0, "length_chars": 22.0}
    assert first["difference"] == {other: 1.0}
    assert second["difference"] == {other: 0.0}
    assert third["status"] == {one: "failed", other: "succeeded"}
    assert third["errors"] == {one: {"code": "boom", "message": "it failed"}}
    assert third["difference"] == {other: None}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"filter": "changed"}, [0, 2, 3]),
        ({"filter": "better"}, [0, 3]),
        ({"filter": "worse"}, [2]),
        ({"filter": "failed"}, [4]),
        ({"filter": "better", "after": 0}, [3]),
        ({"after": 3}, [4]),
    ],
)
def test_rows_are_found_by_how_they_differ(
    site: Site, judged: Judged, query: dict[str, Any], expected: list[int]
) -> None:
    one = judged([BAD, GOOD, GOOD, OTHER, GOOD])
    other = judged([GOOD, GOOD, BAD, GOOD, None])
    found = rows(site, one, other, **query)
    assert [row["index"][one] for row in found["data"]] == expected


def test_pages_go_on_where_the_one_before_ended(site: Site, judged: Judged) -> None:
    one, other = judged([BAD, GOOD] * 10), judged([GOOD] * 20)
    seen: list[int] = []
    after: int | None = -1
    while after is not None:
        found = rows(site, one, other, filter="changed", limit=3, after=after)
        assert len(found["data"]) <= 3
        seen += [row["index"][one] for row in found["data"]]
        after = found["after"]
        assert found["has_more"] == (after is not None)
    assert seen == list(range(0, 20, 2))


def test_a_request_looks_at_a_bounded_number_of_rows(
    site: Site, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.comparison_rows.MOST_BLOCKS", 2)
    for module in ("web.jobs.comparison_rows", "worker.compared_rows"):
        monkeypatch.setattr(f"{module}.BLOCK", 4)
    texts = [GOOD] * 20
    one, other = judged(texts), judged([*texts[:18], BAD, GOOD])
    found = rows(site, one, other, filter="changed")
    assert (found["data"], found["has_more"], found["after"]) == ([], True, 7)
    found = rows(site, one, other, filter="changed", after=15)
    assert [row["index"][one] for row in found["data"]] == [18]


def test_rows_by_a_metric_that_is_not_there_or_has_no_direction_are_refused(
    site: Site, judged: Judged
) -> None:
    one, other = judged([GOOD]), judged([BAD])
    for query in (
        {"metric": "bleu"},
        {"metric": "length_chars", "filter": "better"},
        {"filter": "shorter"},
        {"limit": "101"},
    ):
        answer = compare(site, one, other, rows="/rows", **query)
        assert answer.status_code == 422, answer.text
    found = rows(site, one, other, metric="length_chars")
    assert found["data"][0]["difference"] == {other: float(len(BAD) - len(GOOD))}


def test_a_job_with_itself_has_each_row_once(site: Site, judged: Judged) -> None:
    one = judged([GOOD, BAD])
    found = rows(site, one, one)
    assert [row["index"] for row in found["data"]] == [{one: 0}, {one: 1}]
    assert found["data"][0]["difference"] == {one: 0.0}
    assert rows(site, one, one, filter="changed")["data"] == []


def test_long_outputs_are_cut_and_it_says_so(site: Site, judged: Judged) -> None:
    one, other = judged(["x" * 70_000]), judged(["y"])
    row = rows(site, one, other)["data"][0]
    assert row["shortened"] and len(row["outputs"][one][0]) == 65_536


def test_rows_of_a_comparison_that_is_not_computed_come_later(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD]), judged([BAD])
    answer = site.get(f"/v1/comparisons/rows?jobs={one},{other}")
    assert (answer.status_code, answer.json["status"], answer.json["data"]) == (202, "running", [])
