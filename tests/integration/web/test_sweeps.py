"""Sweeps over the API: a job for each combination of parameters, all of the same items, or none."""

from __future__ import annotations

import io
from typing import Any

import pytest

from common.store import sweeps as store
from common.store.upload_stage import Stage
from tests.support.sweeps import AXES, kept, made, sweep
from tests.support.uploads import table
from tests.support.web import Web
from web.intake import sweep as module
from web.intake.check import Intake
from web.intake.staging import fill


def test_each_value_is_combined_with_each_other(web: Web) -> None:
    found = made(web)
    assert [job["params"] for job in found["jobs"]] == [
        {"temperature": 0, "stop": ["\n"]},
        {"temperature": 0, "stop": ["."]},
        {"temperature": 0.7, "stop": ["\n"]},
        {"temperature": 0.7, "stop": ["."]},
    ]
    assert {job["status"] for job in found["jobs"]} == {"queued"}
    assert all(job["counts"]["total"] == job["counts"]["pending"] == 2 for job in found["jobs"])
    assert (found["status"], found["model"]) == ("queued", "echo")
    assert found["sweep"] == AXES


def test_each_job_has_its_parameters_its_items_and_its_sweep(web: Web) -> None:
    found = made(web, params={"max_tokens": 5}, metadata={"name": "try"})
    for entry in found["jobs"]:
        job = web.get(f"/v1/jobs/{entry['id']}").json
        assert job["params"] == {"max_tokens": 5, **entry["params"]}
        assert (job["sweep"], job["metadata"]) == (found["id"], {"name": "try"})
        items = web.get(f"/v1/jobs/{entry['id']}/items").json["data"]
        assert [item["prompt"] for item in items] == ["one two", "three"]
        assert entry["id"].startswith(found["id"].replace("sweep_", "job_"))


def test_a_job_that_is_in_no_sweep_says_so(web: Web) -> None:
    assert web.get(f"/v1/jobs/{web.submit()}").json["sweep"] is None


def test_the_location_is_where_the_sweep_is(web: Web) -> None:
    answer = sweep(web)
    assert answer.headers["Location"] == answer.json["links"]["self"]
    assert web.get(answer.json["links"]["self"]).json == answer.json


def test_a_list_in_params_is_one_value(web: Web) -> None:
    found = made(web, {"temperature": [0, 1]}, params={"stop": ["a", "b"]})
    assert len(found["jobs"]) == 2
    assert web.get(f"/v1/jobs/{found['jobs'][0]['id']}").json["params"]["stop"] == ["a", "b"]


def test_items_come_from_an_upload_or_a_stored_file_too(web: Web) -> None:
    varied = {"max_tokens": [3, 4], "temperature": [0, 1]}
    lines = b'{"prompt": "one two"}\n{"prompt": "three"}\n'
    for name, content in (("a.jsonl", lines), ("a.parquet", table(prompt=["one two", "three"]))):
        answer = web.upload(name, content, path="/v1/sweeps", sweep=varied)
        assert answer.status_code == 202, answer.text
        check_prompts(web, answer.json["jobs"])
    file = web.services.files.create(
        "acme",
        io.BytesIO(lines),
        filename="a.jsonl",
        purpose="input",
        ttl=60,
        admit=lambda stored: None,
    )
    answer = web.post("/v1/sweeps", json={"input_file": file.id, "sweep": varied})
    assert answer.status_code == 202, answer.text
    check_prompts(web, answer.json["jobs"])


def check_prompts(web: Web, jobs: list[dict[str, Any]]) -> None:
    assert len(jobs) == 4
    for job in jobs:
        items = web.services.store.items(job["id"], 0, 10)
        assert [item["prompt"] for item in items] == ["one two", "three"]


@pytest.mark.parametrize("count", [1, 64, 65, 5000])
def test_copies_have_all_that_was_staged(
    web: Web, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNKS_COPIED", 3)
    items = [{"prompt": f"p {i}", "custom_id": f"c{i}"} for i in range(count)]
    body = {"items": items, "sweep": {"temperature": [0, 0.5, 1]}}
    jobs = web.post("/v1/sweeps", json=body).json["jobs"]
    parts = [web.services.redis.hgetall(f"pm:job:{job['id']}:in") for job in jobs]
    assert parts[0] == parts[1] == parts[2]
    starts = [
        web.services.redis.zrange(f"pm:job:{job['id']}:starts", 0, -1, withscores=True)
        for job in jobs
    ]
    assert starts[0] == starts[1] == starts[2]
    more = web.post(f"/v1/jobs/{jobs[2]['id']}/items", json={"items": [items[0]]})
    assert more.json["code"] == "duplicate_custom_id", "the copy knows its custom_ids"


def test_copies_have_the_columns_beside_their_items_and_how_prompts_are_made(web: Web) -> None:
    rows = "".join(f"{i},text {i},extra {i},gold {i}\n" for i in range(200))
    answer = web.upload(
        "a.csv",
        f"id,text,more,answer\n{rows}".encode(),
        path="/v1/sweeps",
        template={"prompt": "Say {{text}}"},
        columns={"custom_id": "id", "reference": "answer"},
        clean=["whitespace"],
        sweep={"temperature": [0, 0.5, 1]},
    )
    assert answer.status_code == 202, answer.text
    jobs = [job["id"] for job in answer.json["jobs"]]
    for part in ("in", "side", "prep"):
        kept = [web.services.redis.hgetall(f"pm:job:{job}:{part}") for job in jobs]
        assert kept[0] and kept[0] == kept[1] == kept[2]
    row = web.get(f"/v1/jobs/{jobs[2]}/items?after=149&limit=1").json["data"][0]
    assert row["vars"] == {
        "id": "150",
        "text": "text 150",
        "more": "extra 150",
        "answer": "gold 150",
    }
    assert (row["custom_id"], row["reference"]) == ("150", "gold 150")


def test_items_of_several_slots_are_copied_with_them(web: Web) -> None:
    items = [{"prompt": "a", "params": {"n": 3}}, {"prompt": "b"}]
    found = web.post("/v1/sweeps", json={"items": items, "sweep": {"temperature": [0, 1]}}).json
    for job in found["jobs"]:
        assert web.services.redis.get(f"pm:job:{job['id']}:needs") == b"\x03\x01"


def test_the_items_are_read_once_for_each_shape(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Intake] = []

    def noted(stage: Stage, intake: Intake, *rest: Any) -> None:
        read.append(intake)
        fill(stage, intake, *rest)

    monkeypatch.setattr(module, "fill", noted)
    made(web, {"temperature": [0, 0.5, 1], "top_p": [0.5, 1]})
    assert len(read) == 1
    read.clear()
    made(web, {"temperature": [0, 0.5, 1], "max_tokens": [5, 6]})
    assert len(read) == 2


def test_a_preset_lies_under_the_sweep(web: Web) -> None:
    body = {"task": "x", "title": "x", "params": {"temperature": 1, "max_tokens": 9}}
    assert web.call("PUT", "/v1/presets/mine", json=body).status_code == 201
    found = made(web, {"temperature": [0, 0.5]}, preset="mine")
    params = [web.get(f"/v1/jobs/{job['id']}").json["params"] for job in found["jobs"]]
    assert params == [{"temperature": t, "max_tokens": 9} for t in (0, 0.5)]


@pytest.mark.parametrize(
    ("varied", "field"),
    [
        ({}, "sweep"),
        ({"temperature": []}, "sweep"),
        ({"temperature": 0}, "sweep.temperature"),
        ({"temprature": [0]}, "sweep"),
        ({"max_new_tokens": [1]}, "sweep"),
        ({"temperature": [0, -1]}, "sweep.temperature.1"),
        ({"temperature": [0, "hot"]}, "sweep.temperature.1"),
        ({"temperature": [0.5, None]}, "sweep.temperature.1"),
        ({"temperature": [1, 0.5, 1.0]}, "sweep.temperature.2"),
        ({"stop": ["a", ["a"]]}, "sweep.stop.1"),
        ({"stop": [[["a"]]]}, "sweep.stop.0"),
        ({"top_k": [float(2**40)]}, "sweep.top_k.0"),
        ({"temperature": list(range(65))}, "sweep"),
        ({"temperature": list(range(13)), "top_k": [1, 2, 3, 4, 5]}, "sweep"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_at_its_field(
    web: Web, varied: Any, field: str
) -> None:
    before = kept(web)
    answer = sweep(web, varied)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["field"] == field
    assert answer.json["errors"][0]["message"].startswith(field)
    assert kept(web) == before


def test_64_combinations_are_made(web: Web) -> None:
    found = made(web, {"temperature": list(range(8)), "top_k": list(range(8))})
    assert len(found["jobs"]) == 64
    assert len({job["id"] for job in found["jobs"]}) == 64


def test_a_parameter_is_given_or_varied_not_both(web: Web) -> None:
    answer = sweep(web, {"temperature": [0, 1]}, params={"temperature": 0.5})
    assert answer.json["errors"][0]["field"] == "sweep.temperature"


def test_a_body_without_sweep_is_no_sweep_and_a_job_takes_none(web: Web) -> None:
    assert web.post("/v1/sweeps", json={"prompts": ["a"]}).json["errors"][0]["field"] == "sweep"
    answer = web.post("/v1/jobs", json={"prompts": ["a"], "sweep": {"temperature": [0]}})
    assert answer.json["errors"][0]["field"] == "sweep"


def test_a_wrong_item_says_with_which_values_and_nothing_is_made(web: Web) -> None:
    before = kept(web)
    answer = sweep(web, {"max_tokens": [5, 10_000], "temperature": [0, 1]})
    assert answer.status_code == 422
    assert "(with max_tokens 10000)" in answer.json["errors"][0]["message"]
    assert kept(web) == before


def test_a_sweep_tells_how_its_jobs_stand(web: Web) -> None:
    found = made(web, {"temperature": [0, 1]})
    path = f"/v1/sweeps/{found['id']}"
    worker = web.worker()
    taken = worker.take(2)
    assert web.get(path).json["status"] == "running"
    worker.finish(taken)
    halfway = web.get(path).json
    assert halfway["status"] == "running"
    assert sorted(job["status"] for job in halfway["jobs"]) == ["completed", "queued"]
    worker.run()
    over = web.get(path).json
    assert over["status"] == "completed"
    assert all(job["counts"]["succeeded"] == 2 for job in over["jobs"])
    assert all(job["usage"]["completion_tokens"] == 4 for job in over["jobs"])


def test_cancelling_a_sweep_cancels_its_jobs(web: Web) -> None:
    found = made(web, {"temperature": [0, 1]})
    web.worker().run(2)
    answer = web.post(f"/v1/sweeps/{found['id']}/cancel")
    assert answer.status_code == 202
    assert sorted(job["status"] for job in answer.json["jobs"]) == ["cancelled", "completed"]
    assert answer.json["status"] == "cancelled"


def test_another_tenants_sweep_is_as_if_there_were_none(web: Web) -> None:
    found = made(web)
    other = web.services.api_keys.create_key("other")
    for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        theirs = web.call(method, f"/v1/sweeps/{found['id']}{path}", key=other)
        none = web.call(method, f"/v1/sweeps/sweep_0none{path}", key=other)
        assert (theirs.status_code, theirs.json["code"]) == (404, "not_found")
        assert none.status_code == 404
    assert web.call("GET", "/v1/sweeps", key=other).json["data"] == []
    assert len(made(web, headers={"Idempotency-Key": "k"}, key=other)["jobs"]) == 4
    assert web.get(f"/v1/sweeps/{found['id']}").json["status"] == "queued"


def test_sweeps_are_listed_newest_first_page_by_page(web: Web) -> None:
    ids = [made(web, {"temperature": [0]})["id"] for _ in range(5)]
    for at, sweep_id in enumerate(ids):
        web.services.redis.zadd("pm:tenant:acme:sweeps", {sweep_id: at})
    seen: list[str] = []
    after = ""
    while True:
        page = web.get(f"/v1/sweeps?limit=2{after}").json
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['after']}"
    assert seen == ids[::-1]
    web.call("DELETE", f"/v1/sweeps/{ids[3]}")
    page = web.get(f"/v1/sweeps?after={ids[3]}").json
    assert [each["id"] for each in page["data"]] == ids[2::-1], "a deleted one is still a place"


def test_a_damaged_job_leaves_the_others_of_its_sweep_readable(web: Web) -> None:
    found = made(web, {"temperature": [0, 1]})
    web.services.redis.hset(f"pm:job:{found['jobs'][0]['id']}", "status", "odd")
    shown = web.get(f"/v1/sweeps/{found['id']}").json
    assert [job["params"] for job in shown["jobs"]] == [{"temperature": 1}]
    assert web.call("DELETE", f"/v1/jobs/{found['jobs'][0]['id']}").status_code == 204
    assert web.call("DELETE", f"/v1/sweeps/{found['id']}").status_code == 204
