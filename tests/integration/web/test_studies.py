"""Studies over HTTP: what they are made of, what their votes amount to, and their files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.people import ask, finished, link, next_of, prefer, rate, rater, study_of
from tests.support.web import Web
from web.jobs import study_rows


def test_a_study_is_made_of_rows_that_succeeded_in_all_jobs(web: Web) -> None:
    one, other = finished(web, "one", rows=4), finished(web, "other", rows=3)
    study = study_of(web, one, other, criteria=["fluency", "relevance"], raters=3)
    assert (study["matched"], study["rows"], study["tasks"], study["left_out"]) == (3, 3, 3, 0)
    assert (study["matched_by"], study["raters"]) == ("position", 3)
    assert study["progress"] == {"done": 0, "total": 9}
    assert [job["id"] for job in study["jobs"]] == [one, other]
    assert web.get("/v1/studies").json["data"] == [study]
    shown = web.get(f"/v1/studies/{study['id']}").json
    assert {name: shown[name] for name in study} == study
    assert shown["people"] == []
    assert set(shown["results"]) == {"fluency", "relevance"}


def test_rows_are_matched_by_custom_id_where_all_have_one(web: Web) -> None:
    ids = ["a", "b", "c"]
    one = finished(web, "one", items=[{"prompt": f"p {i}", "custom_id": i} for i in ids])
    turned = [{"prompt": f"p {i}", "custom_id": i} for i in reversed(ids)]
    other = finished(web, "other", items=turned)
    study = study_of(web, one, other)
    assert (study["matched_by"], study["matched"]) == ("custom_id", 3)
    browser = rater(web, study["id"])
    places = {"p a": ("0", "2"), "p b": ("1", "1"), "p c": ("2", "0")}
    for _ in ids:
        task = rate(browser, fluency="tie")
        sides = {task["left"], task["right"]}
        first, second = places[task["prompt"]]
        assert sides == {f"one {first}", f"other {second}"}


def test_a_study_of_one_job_is_matched_by_custom_id_too(web: Web) -> None:
    items = [{"prompt": f"p {i}", "custom_id": i} for i in "ab"]
    named = finished(web, "one", items=items, metadata={"name": "mine"})
    assert study_of(web, named, kind="scale")["matched_by"] == "custom_id"
    study = study_of(web, named, finished(web, "other", items=items))
    assert [job["name"] for job in study["jobs"]] == ["mine", None]


def test_whole_numbers_may_have_a_fraction_of_zeros(web: Web) -> None:
    jobs = finished(web, "one"), finished(web, "other")
    study = study_of(web, *jobs, sample=2.0, raters=2.0)
    assert (study["rows"], study["raters"]) == (2, 2)
    assert ask(web, *jobs, sample=2.5).json["code"] == "wrong_type"


def test_an_idempotency_key_is_refused_where_it_has_no_effect(web: Web) -> None:
    study = study_of(web, finished(web, "one"), kind="scale")["id"]
    headers = {"Idempotency-Key": "k"}
    answer = web.post(f"/v1/studies/{study}/raters", json={"name": "Ada"}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "unsupported")
    assert answer.json["errors"][0]["field"] == "Idempotency-Key"


def test_a_deleted_job_does_not_break_its_study(web: Web) -> None:
    jobs = [finished(web, "one"), finished(web, "other")]
    study = study_of(web, *jobs)
    for job in jobs:
        assert web.call("DELETE", f"/v1/jobs/{job}").status_code == 204
    prefer(rater(web, study["id"]), "one", 3)
    assert web.get(f"/v1/studies/{study['id']}").json["progress"]["done"] == 3


def test_chats_and_templates_are_shown_as_people_read_them(web: Web) -> None:
    web.card = card(chat_template="<s>{{ messages[-1].content }}")
    web.services.fleet.publish(web.card, b"")
    chat = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    items: list[Any] = [{"vars": {"text": "a parcel"}}]
    for job, expected in (
        ({"items": items, "template": {"prompt": "Sum up: {{text}}"}}, "Sum up: a parcel"),
        ({"items": [{"messages": chat}]}, "system: Be kind\n\nuser: Hi"),
        ({"items": [{"messages": chat[1:]}]}, "Hi"),
    ):
        study = study_of(web, finished(web, "said", **job), kind="scale")
        task = next_of(rater(web, study["id"]))
        assert (task["prompt"], task["text"]) == (expected, "said 0")


def test_win_rates_and_strengths_follow_votes_whatever_the_sides(web: Web) -> None:
    jobs = [finished(web, "good", rows=24), finished(web, "bad", rows=24)]
    study = study_of(web, *jobs, raters=2)
    for name in ("Ada", "Grace"):
        prefer(rater(web, study["id"], name), "good", 24)
    found = web.get(f"/v1/studies/{study['id']}").json
    fluency = found["results"]["fluency"]
    good, bad = fluency["jobs"]
    assert (good["wins"], good["losses"], good["win_rate"]) == (48, 0, 1.0)
    assert good["strength"] == -bad["strength"] > 1
    assert good["low"] > 0 > bad["high"]
    assert (fluency["votes"], fluency["rows"], fluency["prior"]) == (48, 24, "one tie per pair")
    assert fluency["agreement"] == {"alpha": None, "level": "nominal", "reason": "no_variation"}
    assert [person["done"] for person in found["people"]] == [24, 24]


def test_results_change_with_an_undo(web: Web) -> None:
    study = study_of(web, finished(web, "one"), finished(web, "other"))
    browser = rater(web, study["id"])
    prefer(browser, "one", 2)
    path = f"/v1/studies/{study['id']}"
    assert web.get(path).json["results"]["fluency"]["votes"] == 2
    assert browser.delete("/rate/v1/rating/last").status_code == 204
    assert web.get(path).json["results"]["fluency"]["votes"] == 1


def test_who_skips_does_not_vote(web: Web) -> None:
    study = study_of(web, finished(web, "one"), finished(web, "other"))
    rate(rater(web, study["id"]), fluency="skip")
    found = web.get(f"/v1/studies/{study['id']}").json
    assert found["progress"]["done"] == 1
    fluency = found["results"]["fluency"]
    assert (fluency["votes"], fluency["skips"]) == (0, 1)
    assert [job["win_rate"] for job in fluency["jobs"]] == [None, None]
    assert fluency["agreement"]["reason"] == "no_pairs"


def test_a_scale_has_means_and_ordinal_agreement(web: Web) -> None:
    jobs = [finished(web, "one", rows=2), finished(web, "other", rows=2)]
    study = study_of(web, *jobs, kind="scale", raters=2)
    assert study["tasks"] == 4
    for name in ("Ada", "Grace"):
        browser = rater(web, study["id"], name)
        for _ in range(4):
            task = next_of(browser)
            rate(browser, fluency=4 if task["text"].startswith("one") else 2)
    fluency = web.get(f"/v1/studies/{study['id']}").json["results"]["fluency"]
    assert [job["mean"] for job in fluency["jobs"]] == [4.0, 2.0]
    assert fluency["jobs"][0]["counts"] == [0, 0, 0, 4, 0]
    assert fluency["agreement"] == {"alpha": 1.0, "level": "ordinal", "reason": None}


def test_three_jobs_make_every_pair_of_each_row(web: Web) -> None:
    jobs = [finished(web, text, rows=2) for text in ("a", "b", "c")]
    study = study_of(web, *jobs, raters=1)
    assert (study["rows"], study["tasks"]) == (2, 6)
    browser = rater(web, study["id"])
    pairs = [
        frozenset(task[side][0] for side in ("left", "right"))
        for task in (rate(browser, fluency="tie") for _ in range(6))
    ]
    assert sorted(map(sorted, pairs)) == [["a", "b"]] * 2 + [["a", "c"]] * 2 + [["b", "c"]] * 2


def test_files_have_a_row_for_each_rating(web: Web) -> None:
    items = [{"prompt": "=1+1", "custom_id": "x"}]
    jobs = [finished(web, "one", items=items), finished(web, "other", items=items)]
    study = study_of(web, *jobs, criteria=["fluency", "-truth", "task"])
    task = rate(rater(web, study["id"]), **{"fluency": "left", "-truth": "tie", "task": "skip"})
    answer = web.get(f"/v1/studies/{study['id']}/export.jsonl")
    (line,) = map(json.loads, answer.data.splitlines())
    assert (line["custom_id"], line["prompt"], line["rater_name"]) == ("x", "=1+1", "Ada")
    assert line["answers"] == {"fluency": "left", "-truth": "tie", "task": "skip"}
    assert (line["left"], line["right"]) == (task["left"], task["right"])
    assert line["left_job"] == jobs[not task["left"].startswith("one")]
    assert answer.headers["Content-Disposition"].endswith(f'"{study["id"]}.jsonl"')
    text = web.get(f"/v1/studies/{study['id']}/export.csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["prompt"], row["task"], row["answer_task"]) == ("'=1+1", line["task"], "skip")
    assert (row["answer_fluency"], row["answer_-truth"]) == ("left", "tie")
    assert row["left_job"] == line["left_job"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"kind": "both"}, "kind"),
        ({"criteria": []}, "criteria"),
        ({"criteria": ["a", "a"]}, "criteria"),
        ({"criteria": ["a\nb"]}, "criteria"),
        ({"criteria": ["x" * 65]}, "criteria"),
        ({"criteria": [str(i) for i in range(9)]}, "criteria"),
        ({"sample": 0}, "sample"),
        ({"sample": 2001}, "sample"),
        ({"raters": 11}, "raters"),
        ({"jobs": []}, "jobs"),
        ({"jobs": ["job_0a", "job_0a"]}, "jobs"),
        ({"jobs": [f"job_0{i}" for i in range(5)]}, "jobs"),
    ],
)
def test_what_no_study_can_be_is_refused_by_name(web: Web, wanted: Any, field: str) -> None:
    answer = ask(web, "job_0a", "job_0b", **wanted)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["field"].split(".")[0] == field


def test_pairs_need_two_jobs_and_ratings_have_a_limit(web: Web) -> None:
    assert "needs two jobs" in ask(web, "job_0a").json["detail"]
    many = ask(web, "job_0a", "job_0b", "job_0c", sample=1000, raters=10, criteria=["a", "b"])
    assert "60,000 votes" in many.json["detail"]


def test_a_job_that_runs_or_is_anothers_is_refused(web: Web) -> None:
    running, done = web.submit("a"), finished(web, "one", priority=10)
    answer = ask(web, done, running)
    assert (answer.status_code, answer.json["code"]) == (409, "job_not_over")
    key = web.services.api_keys.create_key("other")
    body = {"jobs": [done], "kind": "scale", "criteria": ["fluency"]}
    assert web.post("/v1/studies", json=body, key=key).status_code == 404


def test_jobs_without_a_common_row_make_no_study(web: Web) -> None:
    job = web.submit("a")
    worker = web.worker()
    worker.finish(worker.take(), error="boom")
    worker.incarnation.release()
    answer = ask(web, job, finished(web, "one"))
    assert (answer.status_code, answer.json["code"]) == (422, "no_rows")
    assert web.services.redis.keys("pm:study:*") == []


def test_rows_with_long_texts_are_left_out_and_counted(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [{"prompt": "x" * 100}, {"prompt": "short"}]
    jobs = [finished(web, "one", items=items), finished(web, "other", items=items)]
    monkeypatch.setattr(study_rows, "MOST_TEXT", 50)
    study = study_of(web, *jobs)
    assert (study["matched"], study["rows"], study["left_out"]) == (2, 1, 1)
    monkeypatch.setattr(study_rows, "MOST_TEXTS", 5)
    answer = ask(web, *jobs)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (413, "sample")


def test_another_tenant_finds_no_study_and_no_rater(web: Web) -> None:
    study = study_of(web, finished(web, "one"), finished(web, "other"))["id"]
    rater_id, _ = link(web, study)
    key = web.services.api_keys.create_key("other")
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/export.jsonl"),
        ("GET", "/export.csv"),
        ("DELETE", f"/raters/{rater_id}"),
    ):
        assert web.call(method, f"/v1/studies/{study}{path}", key=key).status_code == 404
    assert web.post(f"/v1/studies/{study}/raters", json={"name": "E"}, key=key).status_code == 404
    assert web.get("/v1/studies", key=key).json["data"] == []
    assert web.get("/v1/studies", key=key, query_string={"after": study}).status_code == 404


def test_a_deleted_study_is_gone_with_its_links(web: Web) -> None:
    study = study_of(web, finished(web, "one"), finished(web, "other"))["id"]
    browser = rater(web, study)
    assert web.call("DELETE", f"/v1/studies/{study}").status_code == 204
    assert web.get(f"/v1/studies/{study}").status_code == 404
    assert browser.get("/rate/v1/rating/next").status_code == 404
    assert web.services.redis.keys("pm:rater:*") == web.services.redis.keys("pm:study:*") == []
