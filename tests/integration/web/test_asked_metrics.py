"""Which metrics a job's outputs are scored by when it ends: its own, its preset's, or the usual
ones where items have references."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evals.registry import DEFAULT
from tests.support.derived import answer_all, can_judge, derived, items, settle
from tests.support.web import Web

ITEM = {"prompt": "one two"}
CHINESE_BLEU = {"name": "bleu", "tokenize": "zh"}
REFERRED = {"prompt": "one two", "reference": "two"}


def asked(web: Web, job_id: str) -> Any:
    """The metrics of the evaluation that begins when the job ends; None for no evaluation."""
    stored = web.services.redis.hget(f"pm:job:{job_id}", "evaluate")
    return None if stored is None else json.loads(stored)["metrics"]


def submitted(web: Web, *items: dict[str, Any], **fields: Any) -> str:
    answer = web.post("/v1/jobs", json={"items": list(items or [ITEM]), **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


@pytest.mark.parametrize(
    ("items", "fields", "metrics"),
    [
        ([ITEM], {}, None),
        ([ITEM, REFERRED], {}, list(DEFAULT)),
        ([REFERRED], {"evaluate": False}, None),
        ([REFERRED], {"metrics": ["rouge_l", "json_valid"]}, ["rouge_l", "json_valid"]),
        ([REFERRED], {"metrics": [CHINESE_BLEU]}, [CHINESE_BLEU]),
        ([ITEM], {"metrics": ["rouge_l", "json_valid"]}, ["json_valid"]),
        ([ITEM], {"metrics": ["rouge_l"]}, None),
        ([ITEM], {"metrics": ["perplexity"], "params": {"logprobs": 0}}, ["perplexity"]),
        ([ITEM], {"metrics": ["json_valid"], "evaluate": False}, None),
    ],
)
def test_what_is_scored_follows_from_the_request_and_its_references(
    web: Web, items: list[dict[str, Any]], fields: dict[str, Any], metrics: list[Any] | None
) -> None:
    job_id = submitted(web, *items, **fields)
    assert asked(web, job_id) == metrics
    assert web.get(f"/v1/jobs/{job_id}").json["metrics"] == fields.get("metrics", [])


def test_a_preset_s_metrics_are_the_job_s_unless_it_names_its_own(web: Web) -> None:
    preset = {"task": "t", "title": "t", "metrics": ["chrf", "length_chars"]}
    assert web.call("PUT", "/v1/presets/mine", json=preset).status_code == 201
    assert asked(web, submitted(web, REFERRED, preset="mine")) == ["chrf", "length_chars"]
    assert asked(web, submitted(web, ITEM, preset="mine")) == ["length_chars"]
    own = submitted(web, REFERRED, preset="mine", metrics=["rouge_1"])
    assert asked(web, own) == ["rouge_1"]
    assert asked(web, submitted(web, REFERRED, preset="mine", metrics=[])) == list(DEFAULT)


def test_a_mapped_column_of_references_is_scored_and_evaluate_false_is_for_others(web: Web) -> None:
    table, columns = b"q,gold\nhello,bye\n", {"prompt": "q", "reference": "gold"}
    job = web.upload("a.csv", table, columns=columns).json["id"]
    assert asked(web, job) == list(DEFAULT)
    job = web.upload("a.csv", table, columns=columns, evaluate=False).json["id"]
    assert asked(web, job) is None
    empty = web.upload("a.csv", b"q,gold\nhello,\n", columns=columns).json["id"]
    assert asked(web, empty) is None


def test_a_column_named_reference_is_the_reference_unless_columns_are_mapped(web: Web) -> None:
    table = b'prompt,reference,note\na,b,x\nc,"[""d"", ""e""]",\nf,,\ng,7,\n'
    job = web.upload("a.csv", table).json["id"]
    assert asked(web, job) == list(DEFAULT)
    items = web.get(f"/v1/jobs/{job}/items").json["data"]
    assert [item["reference"] for item in items] == ["b", ["d", "e"], None, "7"]
    assert items[0]["metadata"] == {"note": "x"}
    assert asked(web, web.upload("a.csv", table, evaluate=False).json["id"]) is None
    assert asked(web, web.upload("a.csv", table, columns={"prompt": "prompt"}).json["id"]) is None
    assert asked(web, web.upload("a.csv", b"prompt,reference\na,\n").json["id"]) is None
    long = b"prompt,reference\na,b\nc," + b"d" * 70_000 + b"\n"
    (error,) = web.upload("a.csv", long).json["errors"]
    assert (error["field"], error["line"]) == ("reference", 3)


def test_a_sweep_and_a_rerun_are_scored_as_their_first_job(web: Web) -> None:
    body = {"items": [REFERRED], "metrics": ["rouge_l"], "sweep": {"temperature": [0, 1]}}
    jobs = web.post("/v1/sweeps", json=body).json["jobs"]
    assert [asked(web, job["id"]) for job in jobs] == [["rouge_l"]] * 2

    def again(**changes: Any) -> Any:
        return asked(web, web.post(f"/v1/jobs/{jobs[0]['id']}/rerun", json=changes).json["id"])

    assert again() == ["rouge_l"]
    assert again(metrics=["chrf"]) == ["chrf"]
    assert again(evaluate=False) is None


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"metrics": ["rouge"]}, "metrics.0", "did you mean 'rouge_"),
        ({"metrics": ["chrf", {"name": "chrf", "order": 2}]}, "metrics.1", "no option 'order'"),
        ({"metrics": ["chrf", "chrf"]}, "metrics", "chrf is there twice"),
        ({"metrics": [7]}, "metrics.0", "must be the name of a metric"),
        ({"metrics": "chrf"}, "metrics", "must be a list"),
        ({"metrics": ["chrf", "perplexity"]}, "metrics.1", '"logprobs": 0'),
        ({"evaluate": "no"}, "evaluate", "must be true or false"),
        ({"items": [{"prompt": "a", "reference": []}]}, "items.0.reference", "1 to 16"),
        ({"items": [{"prompt": "a", "reference": ["x"] * 17}]}, "items.0.reference", "17 texts"),
        ({"items": [{"prompt": "a", "reference": "é" * 40_000}]}, "items.0.reference", "80,000"),
    ],
)
def test_metrics_and_references_that_cannot_be_are_refused_by_name(
    web: Web, fields: dict[str, Any], field: str, said: str
) -> None:
    body = {"items": [ITEM]} | fields
    answer = web.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["field"] == field and said in error["message"]
    assert web.job_keys() == []
    checked = web.post("/v1/jobs/check", json=body)
    assert field in str(checked.json["errors"])


def test_items_with_log_probabilities_of_their_own_have_a_perplexity(web: Web) -> None:
    own = {"prompt": "a", "params": {"logprobs": 0}}
    assert asked(web, submitted(web, ITEM, own, metrics=["perplexity"])) == ["perplexity"]


def test_a_preset_of_an_earlier_version_with_a_metric_that_there_is_not_still_works(
    web: Web,
) -> None:
    web.services.presets.put(
        "acme", "old", {"task": "t", "title": "t", "metrics": ["bleurt", "chrf"]}, 2**20
    )
    assert asked(web, submitted(web, REFERRED, preset="old")) == ["chrf"]


def test_references_of_items_that_are_added_are_scored_too(web: Web) -> None:
    def add(job_id: str, item: dict[str, Any]) -> None:
        answer = web.post(f"/v1/jobs/{job_id}/items", json={"items": [item]})
        assert answer.status_code == 202, answer.text

    plain, own = submitted(web, ITEM), submitted(web, ITEM, metrics=["chrf", "json_valid"])
    off = submitted(web, ITEM, evaluate=False)
    add(plain, ITEM)
    assert asked(web, plain) is None
    for job_id in (plain, own, off):
        add(job_id, REFERRED)
    add(own, ITEM)
    assert asked(web, plain) == list(DEFAULT)
    assert asked(web, own) == ["chrf", "json_valid"]
    assert asked(web, off) is None


JUDGED = {"judge": "scale"}


@pytest.mark.parametrize(
    ("fields", "metrics"),
    [
        ({}, list(DEFAULT)),
        ({"metrics": ["rouge_l"]}, ["rouge_l"]),
        ({"metrics": ["rouge_l"], "evaluate": False}, None),
        (JUDGED, None),
        (JUDGED | {"metrics": ["exact_match"]}, ["exact_match"]),
    ],
)
def test_a_job_of_other_jobs_rows_is_compared_with_their_references(
    web: Web, fields: dict[str, Any], metrics: list[str] | None
) -> None:
    can_judge(web)
    mapped = {"prompt": "q", "reference": "gold"}
    table = b'q,gold\nhello,bye\nhi,"[""a"",""b""]"\n'
    for source, references in (
        (submitted(web, REFERRED, ITEM), ["two", None]),
        (web.upload("a.csv", table, columns=mapped).json["id"], ["bye", ["a", "b"]]),
    ):
        answer_all(web, "say", "so")
        made = derived(web, source, **fields)
        settle(web)
        assert asked(web, made) == metrics
        found = [row["reference"] for row in items(web, made)]
        assert found == (references if metrics else [None, None])
        answer_all(web, "1", "2")


def test_a_job_of_other_jobs_rows_is_scored_as_it_asks(web: Web) -> None:
    source = submitted(web, ITEM)
    body = {"input_from": {"jobs": [source]}, "template": {"prompt": "Say it again: {{output}}"}}
    wanted = {"metrics": ["perplexity", "length_chars"], "params": {"logprobs": 0}}
    answer = web.post("/v1/jobs", json=body | wanted)
    assert answer.status_code == 202, answer.text
    assert asked(web, answer.json["id"]) == wanted["metrics"]
    refused = web.post("/v1/jobs", json=body | {"metrics": ["perplexity"]})
    assert refused.json["errors"][0]["field"] == "metrics.0"
