"""Scores in rows: of the newest evaluation that is done, or of the one that is named, in lists of
items and in every kind of file."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq

from tests.support.scored_jobs import evaluate, finished_job
from tests.support.web import Web

FIRST = {"rouge_l": [0.25, None, 1.0], "bleu": [10.5, 0.0, None]}
SECOND = {"chrf": [1.0, 2.0, 3.0]}


def rows(web: Web, job_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = web.get(f"/v1/jobs/{job_id}/results.jsonl{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_rows_have_no_scores_until_an_evaluation_is_done(web: Web) -> None:
    job_id = finished_job(web)
    web.post(f"/v1/jobs/{job_id}/evaluations", json={"metrics": ["chrf"]})
    assert all("scores" not in row for row in rows(web, job_id))
    assert web.get(f"/v1/jobs/{job_id}/items").json["data"][0]["scores"] is None
    assert "score_chrf" not in web.get(f"/v1/jobs/{job_id}/results.csv").text


def test_rows_have_the_newest_scores_or_those_that_are_asked_for(web: Web) -> None:
    job_id = finished_job(web)
    first = evaluate(web, job_id, FIRST)
    scored = [
        {"rouge_l": 0.25, "bleu_sentence": 10.5},
        {"rouge_l": None, "bleu_sentence": 0.0},
        {"rouge_l": 1.0, "bleu_sentence": None},
    ]
    assert [row["scores"] for row in rows(web, job_id)] == scored
    evaluate(web, job_id, SECOND)
    newest = [{"chrf": 1.0}, {"chrf": 2.0}, {"chrf": 3.0}]
    assert [row["scores"] for row in rows(web, job_id)] == newest
    assert [row["scores"] for row in rows(web, job_id, f"?evaluation={first}")] == scored
    for query, wanted in (("", newest), (f"evaluation={first}", scored)):
        items = web.get(f"/v1/jobs/{job_id}/items?{query}").json["data"]
        assert [item["scores"] for item in items] == wanted
        found = web.get(f"/v1/jobs/{job_id}/items?id=t&order=-index&{query}").json["data"]
        assert [item["scores"] for item in found] == [wanted[2], wanted[1]]


def test_tables_have_a_column_for_each_score(web: Web) -> None:
    job_id = finished_job(web)
    evaluate(web, job_id, FIRST)
    text = web.get(f"/v1/jobs/{job_id}/results.csv").text
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["score_rouge_l"] for row in table] == ["0.25", "", "1.0"]
    assert [row["score_bleu_sentence"] for row in table] == ["10.5", "0.0", ""]
    file = pq.read_table(io.BytesIO(web.get(f"/v1/jobs/{job_id}/results.parquet").data))
    assert file.column("score_rouge_l").to_pylist() == FIRST["rouge_l"]
    assert str(file.schema.field("score_rouge_l").type) == "double"


def test_in_a_table_of_columns_scores_have_our_prefix(web: Web) -> None:
    job_id = finished_job(web, [{"prompt": "a", "vars": {"score_chrf": "theirs"}}])
    evaluate(web, job_id, {"chrf": [7.5]})
    text = web.get(f"/v1/jobs/{job_id}/results.csv").text
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["score_chrf"], row["pm_score_chrf"]) == ("theirs", "7.5")


def test_the_row_of_a_retry_has_no_score_of_the_first_job(web: Web) -> None:
    job_id = finished_job(web, ["one", "two"], evaluate=False)
    failing = web.post("/v1/jobs", json={"prompts": ["a", "b"]}).json["id"]
    worker = web.worker()
    worker.finish(worker.take(1), text="said")
    worker.finish(worker.take(1), error="engine_error")
    evaluate(web, failing, {"chrf": [50.0, None]})
    assert web.post(f"/v1/jobs/{failing}/retry").status_code == 202
    web.worker().run()
    merged = rows(web, failing, "?merge=retries")
    assert [row["scores"] for row in merged] == [{"chrf": 50.0}, {"chrf": None}]
    assert merged[1]["status"] == "succeeded" and job_id != failing


def test_an_evaluation_that_is_not_done_or_of_another_job_has_no_rows(web: Web) -> None:
    job_id, other = finished_job(web), finished_job(web)
    waiting = web.post(f"/v1/jobs/{job_id}/evaluations", json={"metrics": ["chrf"]}).json["id"]
    for path in ("items?", "results.csv?", "items?id=t&"):
        answer = web.get(f"/v1/jobs/{job_id}/{path}evaluation={waiting}")
        assert (answer.status_code, answer.json["code"]) == (409, "evaluation_not_done")
        answer = web.get(f"/v1/jobs/{other}/{path}evaluation={waiting}")
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_rows_beyond_the_first_block_have_their_own_scores(web: Web) -> None:
    count = 1100
    job_id = finished_job(web, [{"prompt": "a"}] * count)
    scores = {"chrf": [float(n) for n in range(count)]}
    evaluate(web, job_id, scores)
    assert [row["scores"]["chrf"] for row in rows(web, job_id)] == scores["chrf"]
    backwards = web.get(f"/v1/jobs/{job_id}/items?order=-index&limit=3").json["data"]
    assert [item["scores"]["chrf"] for item in backwards] == [1099.0, 1098.0, 1097.0]


def test_scores_go_with_their_job(web: Web) -> None:
    job_id = finished_job(web)
    found = evaluate(web, job_id, SECOND)
    assert web.call("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert web.get(f"/v1/evaluations/{found}").status_code == 404
    assert web.services.redis.keys("pm:eval:*") == []
