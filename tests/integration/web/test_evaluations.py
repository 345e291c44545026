"""Evaluations over the API: begun, awaited, listed, and refused by name."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from common.store.evaluation_work import EvaluationWork
from evals.registry import DEFAULT
from tests.support.scored_jobs import end_evaluation, evaluate, finished_job
from tests.support.web import Answer, Web

SUMMARY = {
    "n": 3, "nulls": 0, "failed_items": 0, "coverage": 1.0, "value": 0.5, "low": None,
    "high": None, "mean": 0.5, "quartiles": [0.4, 0.5, 0.6],
    "histogram": {"edges": [0.0, 0.5, 1.0], "counts": [1, 2]},
}  # fmt: skip


def ask(web: Web, job_id: str, **body: Any) -> Answer:
    return web.post(f"/v1/jobs/{job_id}/evaluations", json=body)


def send_file(web: Web, job_id: str, name: str, content: bytes, **options: Any) -> Answer:
    parts = {"file": FileStorage(io.BytesIO(content), name), "evaluation": json.dumps(options)}
    boundary, body = encode_multipart(parts)
    kind = f"multipart/form-data; boundary={boundary}"
    return web.post(f"/v1/jobs/{job_id}/evaluations", data=body, content_type=kind)


def references(web: Web, evaluation_id: str, count: int = 3) -> list[Any]:
    """As an evaluator gets them."""
    work = EvaluationWork(web.services.redis)
    claimed = work.claim()
    assert claimed is not None and claimed.id == evaluation_id
    return web.services.evaluations.references.read(evaluation_id, 0, count)


def test_an_evaluation_is_begun_and_shown_from_its_start_to_its_end(web: Web) -> None:
    job_id = finished_job(web)
    answer = ask(web, job_id, metrics=["rouge_l"], gate=[{"metric": "rouge_l", "min": 0.3}])
    assert answer.status_code == 202
    assert answer.headers["Location"].endswith(f"/v1/evaluations/{answer.json['id']}")
    assert answer.headers["Retry-After"]
    shown = web.get(f"/v1/evaluations/{answer.json['id']}").json
    assert shown == answer.json
    assert (shown["job"], shown["status"], shown["origin"]) == (job_id, "queued", "request")
    assert shown["progress"] == {"done": 0, "total": 3}
    assert (shown["summary"], shown["gate"], shown["finished_at"]) == ({}, None, None)
    gate: Any = {"status": "passed", "rules": [{"metric": "rouge_l", "status": "passed"}]}
    scores = {"rouge_l": [0.4, 0.5, 0.6]}
    end_evaluation(web, scores, summary={"rouge_l": SUMMARY}, gate=gate)
    done = web.get(f"/v1/evaluations/{shown['id']}?wait=5")
    assert "Retry-After" not in done.headers
    assert (done.json["status"], done.json["progress"]["done"]) == ("done", 3)
    assert done.json["summary"] == {"rouge_l": SUMMARY}
    assert done.json["gate"]["rules"][0] | {"reason": None} == gate["rules"][0] | {"reason": None}
    listed = web.get(f"/v1/jobs/{job_id}/evaluations").json["data"]
    assert listed == [done.json]


def test_a_long_poll_is_answered_when_the_evaluation_ends(web: Web) -> None:
    job_id = finished_job(web)
    evaluation = ask(web, job_id, metrics=["rouge_l"]).json["id"]
    assert web.get(f"/v1/evaluations/{evaluation}?wait=0.2").json["status"] == "queued"
    end = threading.Timer(0.5, end_evaluation, (web, {"rouge_l": [0.1, 0.2, 0.3]}))
    end.start()
    assert web.get(f"/v1/evaluations/{evaluation}?wait=30").json["status"] == "done"
    end.join()


def test_without_metrics_the_job_s_own_are_scored_else_the_usual_ones(web: Web) -> None:
    own = finished_job(web, metrics=["chrf"])
    assert ask(web, own).json["metrics"] == ["chrf"]
    assert web.post(f"/v1/jobs/{own}/evaluations").json["metrics"] == ["chrf"]
    assert ask(web, finished_job(web)).json["metrics"] == list(DEFAULT)


def test_what_a_gate_is_about_is_scored(web: Web) -> None:
    rules = [{"metric": "rouge_l", "min": 0.1}, {"metric": "chrf", "max": 99}]
    found = ask(web, finished_job(web), metrics=["rouge_l"], gate=rules)
    assert found.json["metrics"] == ["rouge_l", "chrf"]


def test_a_job_that_is_not_over_is_not_evaluated(web: Web) -> None:
    answer = ask(web, web.submit(), metrics=["rouge_l"])
    assert (answer.status_code, answer.json["code"]) == (409, "not_over")


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"metrics": ["rouge"]}, "metrics.0", "did you mean"),
        ({"metrics": ["perplexity"]}, "metrics.0", '"logprobs": 0'),
        (
            {"gate": [{"metric": "chrf", "min": 1}, {"metric": "perplexity", "max": 3}]},
            "gate.1.metric",
            '"logprobs": 0',
        ),
        ({"metric": ["chrf"]}, "metric", "did you mean metrics?"),
        ({"gate": [{"metric": "chrf", "min": 1, "basline": 1}]}, "gate.0.basline", "baseline?"),
        ({"gate": [{"metric": "rouge_l"}]}, "gate.0", "exactly one of min, max and max_drop"),
        ({"gate": [{"metric": "rouge_l", "min": 1, "max": 2}]}, "gate.0", "exactly one"),
        ({"gate": [{"metric": "rouge_l", "max_drop": 1}]}, "gate.0", "belong together"),
        ({"gate": [{"metric": "rouge_l", "min": 1, "min_coverage": 2}]}, "gate.0.min_coverage", ""),
        ({"gate": [{"metric": "rogue", "min": 1}]}, "gate.0", "did you mean"),
        ({"gate": [{"metric": "chrf", "min": 1}] * 33}, "gate", "32"),
        ({"references": {}}, "references", "leave references out"),
        ({"references": {"one": None}}, "references", "references has no text"),
        ({"references": [None, None, None]}, "references", "references has no text"),
        ({"references": {"one": []}}, "references.one", "1 to 16"),
        ({"references": {"one": ["a"] * 17}}, "references.one", "17 texts"),
        ({"references": {"one": "a" * 2**20}}, "references.one", "1,048,576 bytes"),
        ({"references": {"one": 7}}, "references.one", "must be text"),
        ({"references": {"four": "a"}}, "references.four", "no item of the job has"),
        ({"references": ["a"]}, "references", "1 entry, and the job 3 items"),
        ({"references": ["a", None, ["b", 3]]}, "references.2", "must be text"),
        ({"references": "a"}, "references", "must be an object by custom_id, or a list"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_place(
    web: Web, body: dict[str, Any], field: str, said: str
) -> None:
    job_id = finished_job(web)
    answer = ask(web, job_id, **body)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json["errors"]
    assert error["field"] == field and said in error["message"]
    assert web.get(f"/v1/jobs/{job_id}/evaluations").json["data"] == []


def test_every_wrong_reference_is_listed(web: Web) -> None:
    answer = ask(web, finished_job(web), references={"one": [], "two": "b", "six": "c"})
    assert answer.json["detail"].startswith("2 problems")
    assert [error["field"] for error in answer.json["errors"]] == [
        "references.one",
        "references.six",
    ]


def test_references_are_given_by_custom_id_or_by_position(web: Web) -> None:
    job_id = finished_job(web)
    by_id = ask(web, job_id, references={"three": "c", "one": ["a", ""], "two": None})
    assert references(web, by_id.json["id"]) == [["a", ""], None, ["c"]]
    by_place = ask(web, job_id, references=["a", None, ["c", "d"]])
    assert references(web, by_place.json["id"]) == [["a"], None, ["c", "d"]]


def test_many_references_are_read_as_few(web: Web) -> None:
    count = 5000
    job_id = finished_job(web, [{"prompt": "a", "custom_id": str(n)} for n in range(count)])
    web.worker().run(room=count)
    sent = {str(n): f"text {n}" for n in reversed(range(count))}
    wanted = [[f"text {n}"] for n in range(count)]
    assert references(web, ask(web, job_id, references=sent).json["id"], count) == wanted
    listed = [f"text {n}" for n in range(count)]
    assert references(web, ask(web, job_id, references=listed).json["id"], count) == wanted


TABLE = [["one", "a"], ["three", '["c", "d"]'], ["two", ""]]
FOUND = [["a"], None, ["c", "d"]]


def sheet() -> bytes:
    from openpyxl import Workbook

    book, file = Workbook(), io.BytesIO()
    for row in [["custom_id", "reference"], *TABLE]:
        book.active.append(row)
    book.save(file)
    return file.getvalue()


def parquet() -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as pq

    file = io.BytesIO()
    ids, values = pa.array(["one", "three", "two"]), pa.array([["a"], ["c", "d"], None])
    pq.write_table(pa.table({"custom_id": ids, "reference": values}), file)
    return file.getvalue()


FILES: dict[str, Any] = {
    "a.csv": b'custom_id,reference\none,a\nthree,"[""c"", ""d""]"\ntwo,\n',
    "a.tsv": b'custom_id\treference\none\ta\nthree\t["c", "d"]\ntwo\t\n',
    "a.jsonl": b'{"custom_id": "one", "reference": "a"}\n\n{"custom_id": "two"}\n'
    b'{"custom_id": "three", "reference": ["c", "d"]}\n',
    "a.xlsx": sheet,
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", FILES)
def test_references_come_from_a_table(web: Web, name: str) -> None:
    content = FILES[name]() if callable(FILES[name]) else FILES[name]
    answer = send_file(web, finished_job(web), name, content, metrics=["chrf"])
    assert answer.status_code == 202, answer.text
    assert answer.json["metrics"] == ["chrf"]
    assert references(web, answer.json["id"]) == FOUND


def test_a_table_without_ids_goes_by_position(web: Web) -> None:
    job_id = finished_job(web)
    answer = send_file(web, job_id, "a.csv", b"reference,note\na,x\n,y\nc,z\n")
    assert references(web, answer.json["id"]) == [["a"], None, ["c"]]


def test_only_jsonl_tells_texts_from_all_else(web: Web) -> None:
    job_id = finished_job(web)
    answer = send_file(web, job_id, "a.csv", b'reference\n7\n"{""a"": 1}"\n"[1, 2]"\n')
    assert references(web, answer.json["id"]) == [["7"], ['{"a": 1}'], ["[1, 2]"]]
    lines = b'{"reference": "[\\"a\\"]"}\n{"reference": null}\n{"reference": ["a"]}\n'
    answer = send_file(web, job_id, "a.jsonl", lines)
    assert references(web, answer.json["id"]) == [['["a"]'], None, ["a"]]


@pytest.mark.parametrize(
    ("name", "content", "field", "line", "said"),
    [
        ("a.csv", b"custom_id,gold\none,a\n", "file", None, "no column 'reference'"),
        ("a.csv", b"custom_id,reference\nsix,a\n", "custom_id", 2, "no item of the job"),
        ("a.csv", b"custom_id,reference\none,a\none,b\n", "custom_id", 3, "at line 2"),
        ("a.csv", b"custom_id,reference\n,a\n", "custom_id", 2, "is empty"),
        ("a.csv", b"custom_id,reference\none,a,b\n", "file", 2, "3 cells"),
        ("a.csv", b"custom_id,reference\none,\n", "file", None, "no row has a text in reference"),
        ("a.csv", b"reference\na\nb\n", "file", None, "2 rows, and the job 3 items"),
        ("a.csv", b"reference\na\n", "file", None, "1 row, and the job 3 items"),
        ("a.csv", b"reference\na\nb\nc\nd\n", "file", None, "4 rows"),
        ("a.csv", b"custom_id,reference\n", "file", None, "no rows"),
        ("a.jsonl", b'{"reference": "a"}\n{"custom_id": "one"}\n"x"\n', "custom_id", 2, "or none"),
        ("a.csv", b"custom_id,reference\none," + b"a" * 70_000, "reference", 2, "70,000 bytes"),
        ("a.jsonl", b'{"reference": "a"}\n{"reference": []}\n', "reference", 2, "1 to 16"),
        ("a.jsonl", b'{"custom_id": "one", "reference": 7}', "reference", 1, "must be text"),
        ("a.jsonl", b'{"custom_id": "one", "reference": [1]}', "reference", 1, "must be text"),
        ("a.jsonl", b'{"custom_id": "one", "reference": {"a": 1}}', "reference", 1, "must be text"),
        ("a.jsonl", b'{"custom_id": "one", "ref', "file", 1, "JSON"),
        ("a.txt", b"a\nb\nc\n", "file", None, "no column 'reference'"),
        ("a.docx", b"a", "file", None, "format"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_line(
    web: Web, name: str, content: bytes, field: str, line: int | None, said: str
) -> None:
    answer = send_file(web, finished_job(web), name, content)
    assert answer.status_code in (415, 422), answer.text
    error = answer.json["errors"][0]
    assert (error["field"], error.get("line")) == (field, line), error
    assert said in error["message"]


def test_a_form_with_other_parts_is_refused(web: Web) -> None:
    parts = {"file": FileStorage(io.BytesIO(b"reference\na\n"), "a.csv"), "job": "{}"}
    boundary, body = encode_multipart(parts)
    kind = f"multipart/form-data; boundary={boundary}"
    path = f"/v1/jobs/{finished_job(web)}/evaluations"
    answer = web.post(path, data=body, content_type=kind)
    assert answer.status_code == 422 and "send file and evaluation" in answer.text


def test_twenty_evaluations_are_all_that_a_job_has(web: Web) -> None:
    job_id = finished_job(web, ["one"])
    for _ in range(20):
        assert ask(web, job_id, metrics=["chrf"]).status_code == 202
    answer = ask(web, job_id, metrics=["chrf"])
    assert (answer.status_code, answer.json["code"]) == (409, "too_many_evaluations")


def test_an_evaluation_that_began_by_itself_is_listed_as_the_job_s(web: Web) -> None:
    job_id = finished_job(web, [{"prompt": "a", "reference": "b"}], evaluate=True)
    (found,) = web.get(f"/v1/jobs/{job_id}/evaluations").json["data"]
    assert (found["origin"], found["metrics"]) == ("job", list(DEFAULT))


def test_the_end_of_an_evaluation_is_an_event_of_the_job_s_webhook(web: Web) -> None:
    hook = {"url": "http://192.0.2.1/", "events": ["evaluation.finished"]}
    job_id = finished_job(web, webhook=hook)
    assert web.get(f"/v1/jobs/{job_id}").json["webhooks"] == []
    evaluate(web, job_id, {"chrf": [1, 2, 3]})
    (event,) = web.get(f"/v1/jobs/{job_id}").json["webhooks"]
    assert event["type"] == "evaluation.finished"
