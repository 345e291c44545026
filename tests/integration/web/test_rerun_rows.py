"""Which items of a job run again, with all that belongs to them."""

from __future__ import annotations

import pytest

from common.errors import NotFound
from common.types import ItemState
from tests.support.rerun import TABLE, end, kept, rerun, rows, submit
from tests.support.web import Web
from web.jobs.stored_drafts import PAGE, Change, Choice, drafts_again


def test_all_rows_run_again_with_all_that_belongs_to_them(web: Web) -> None:
    job = submit(web)
    answer = rerun(web, job)
    assert (answer.status_code, answer.json["rerun_of"]) == (202, job), answer.text
    assert answer.headers["Location"].endswith(answer.json["id"])
    again = answer.json
    assert again["params"] == TABLE["params"] and again["metadata"] == TABLE["metadata"]
    assert kept(web, again["id"]) == kept(web, job)
    names = list(rows(web, job)[0]["vars"])
    assert [list(row["vars"]) for row in rows(web, again["id"])] == [names] * 5
    before, after = (web.services.store.prep(each) for each in (job, again["id"]))
    assert before == after and after["columns"] == names
    assert web.get(f"/v1/jobs/{job}").json["retries"] == []
    assert all("origin" not in row or row["origin"] is None for row in rows(web, again["id"]))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("failed", ["c0", "c1"]),
        ("succeeded", ["c2"]),
        ("unfinished", ["c3", "c4"]),
        ("all", ["c0", "c1", "c2", "c3", "c4"]),
    ],
)
def test_rows_are_chosen_by_what_became_of_them(web: Web, wanted: str, ids: list[str]) -> None:
    job, worker = submit(web), web.worker()
    worker.finish(worker.take(2), error="engine_error")
    worker.finish(worker.take(1))
    if wanted in ("failed", "unfinished"):
        assert rerun(web, job, rows=wanted).json["code"] == "job_not_over"
    web.post(f"/v1/jobs/{job}/cancel")
    answer = rerun(web, job, rows=wanted)
    assert answer.status_code == 202, answer.text
    assert [row["custom_id"] for row in rows(web, answer.json["id"])] == ids


def test_failed_rows_are_chosen_by_their_error(web: Web) -> None:
    job, worker = submit(web), web.worker()
    worker.finish(worker.take(2), error="engine_error")
    worker.finish(worker.take(2), error="too_slow")
    worker.run()
    for errors, ids in (
        (["too_slow"], ["c2", "c3"]),
        (["too_slow", "engine_error"], ["c0", "c1", "c2", "c3"]),
    ):
        answer = rerun(web, job, rows="failed", errors=errors)
        assert [row["custom_id"] for row in rows(web, answer.json["id"])] == ids
    assert rerun(web, job, rows="failed", errors=["other"]).json["code"] == "nothing_to_rerun"
    refused = rerun(web, job, rows="all", errors=["too_slow"])
    assert (refused.status_code, "failed" in refused.json["detail"]) == (422, True)


def test_no_such_rows_make_no_job(web: Web) -> None:
    job = submit(web)
    end(web)
    before = web.job_keys()
    answer = rerun(web, job, rows="failed")
    assert (answer.status_code, answer.json["code"]) == (409, "nothing_to_rerun")
    assert web.job_keys() == before


def test_rows_that_were_refused_fail_again_or_run_with_another_template(web: Web) -> None:
    table = b"id,text,other\r\n1,a,x\r\n2,,y\r\n3,c,\r\n"
    template = {"prompt": "say {{text}}"}
    job = web.upload("t.csv", table, template=template, bad_rows="fail").json["id"]
    assert [set(item) & {"refused"} for item in web.services.store.items(job, 0, 3)] == [
        set(),
        {"refused"},
        set(),
    ]
    again = rerun(web, job).json["id"]
    item = web.services.store.items(again, 1, 1)[0]
    assert item["refused"]["code"] == "missing_variable"
    assert [row["vars"]["id"] for row in rows(web, again)] == ["1", "2", "3"]
    other = rerun(web, job, template={"prompt": "say {{id}}"}).json["id"]
    assert [item["vars"] for item in web.services.store.items(other, 0, 3)] == [
        {"id": "1"},
        {"id": "2"},
        {"id": "3"},
    ]
    # A row that could run before is checked like any other.
    assert rerun(web, job, template={"prompt": "say {{other}}"}).json["code"] == "missing_variable"


def test_mapped_references_come_along(web: Web) -> None:
    table = b"id,text,gold\r\n1,a,x\r\n2,b,y\r\n"
    columns = {"custom_id": "id", "reference": "gold"}
    job = web.upload("t.csv", table, template={"prompt": "{{text}}"}, columns=columns).json["id"]
    again = rerun(web, job).json["id"]
    assert [row["reference"] for row in rows(web, again)] == ["x", "y"]
    assert web.services.store.prep(again)["mapped"] == columns
    end(web, failing=4)
    retried = web.post(f"/v1/jobs/{again}/retry").json["id"]
    assert [row["reference"] for row in rows(web, retried)] == ["x", "y"]


def test_what_is_left_of_a_cancelled_job_and_its_first_part_are_the_whole(web: Web) -> None:
    job, worker = submit(web), web.worker()
    worker.run(2)
    web.post(f"/v1/jobs/{job}/cancel")
    left = rerun(web, job, rows="unfinished").json["id"]
    done = [row["custom_id"] for row in rows(web, job) if row["status"] == ItemState.SUCCEEDED]
    assert sorted(done + [row["custom_id"] for row in rows(web, left)]) == [
        f"c{i}" for i in range(5)
    ]


def test_a_retried_item_says_where_it_comes_from(web: Web) -> None:
    job = submit(web)
    end(web, failing=2)
    first = web.post(f"/v1/jobs/{job}/retry").json["id"]
    assert kept(web, first) == kept(web, job)[:2]
    assert [row["origin"] for row in rows(web, first)] == [
        {"job": job, "index": 0},
        {"job": job, "index": 1},
    ]
    end(web, failing=1)
    second = web.post(f"/v1/jobs/{first}/retry").json["id"]
    assert [row["origin"] for row in rows(web, second)] == [{"job": first, "index": 0}]
    third = web.post(f"/v1/jobs/{job}/retry").json["id"]
    view = web.get(f"/v1/jobs/{job}").json
    assert (view["retries"], view["retried_by"]) == ([third, first], third)


def test_a_job_that_is_deleted_while_its_items_are_read_makes_no_part_of_another(web: Web) -> None:
    job_id = submit(web, items=[{"vars": {"text": str(i)}} for i in range(3 * PAGE)])
    job, prep = web.services.store.job(job_id), web.services.store.prep(job_id)
    change = Change(templated=True)
    drafts = drafts_again(web.services, job, prep, Choice(frozenset(ItemState)), change)
    assert next(drafts).value == {"vars": {"text": "0"}}
    web.call("DELETE", f"/v1/jobs/{job_id}")
    with pytest.raises(NotFound):
        list(drafts)
    assert rerun(web, job_id).status_code == 404


def test_a_job_is_retried_a_thousand_times_at_most(web: Web) -> None:
    job = submit(web)
    end(web, failing=1)
    ids = [f"job_0{i}" for i in range(1000)]
    listed = {"retries": ",".join(ids), "retried_by": ids[0]}
    web.services.redis.hset(f"pm:job:{job}", mapping=listed)
    answer = web.post(f"/v1/jobs/{job}/retry")
    assert (answer.status_code, answer.json["code"]) == (409, "too_many_retries")
    assert ids[0] in answer.json["detail"]


def test_appended_items_run_again_like_the_first(web: Web) -> None:
    job = submit(web)
    more = [{"custom_id": "new", "vars": {"text": "t", "another": None}, "reference": "r"}]
    assert web.post(f"/v1/jobs/{job}/items", json={"items": more}).status_code == 202
    names = web.services.store.prep(job)["columns"]
    assert names[-1] == "another" and len(names) == 4
    again = rerun(web, job).json["id"]
    assert kept(web, again) == kept(web, job)
    assert rows(web, again)[5]["vars"] == {"text": "t", "another": None}
    assert web.services.store.prep(again)["columns"] == names


def test_a_rerun_of_what_is_being_run_takes_what_is_there(web: Web) -> None:
    job, worker = submit(web), web.worker()
    taken = worker.take(2)
    again = rerun(web, job, rows="all").json
    assert again["counts"]["total"] == 5
    assert rerun(web, job, rows="succeeded").json["code"] == "nothing_to_rerun"
    worker.finish(taken)
    assert rerun(web, job, rows="succeeded").json["counts"]["total"] == 2


def test_a_chain_of_retries_holds_when_one_between_is_deleted(web: Web) -> None:
    job = submit(web)
    end(web, failing=3)
    first = web.post(f"/v1/jobs/{job}/retry").json["id"]
    end(web, failing=2)
    second = web.post(f"/v1/jobs/{first}/retry").json["id"]
    end(web, failing=1)
    third = web.post(f"/v1/jobs/{second}/retry").json["id"]
    end(web)
    query = {"merge": "retries"}
    before = web.get(f"/v1/jobs/{job}/results.jsonl", query_string=query).text
    assert before.count(f'"retried_in":"{third}"') == 1
    for gone in (second, first):
        web.call("DELETE", f"/v1/jobs/{gone}")
        merged = web.get(f"/v1/jobs/{job}/results.jsonl", query_string=query).text
        assert merged.count(f'"retried_in":"{third}"') == 1
        assert f'"retried_in":"{gone}"' not in merged
    assert web.get(f"/v1/jobs/{job}").json["retries"] == [third]
    assert web.get(f"/v1/jobs/{third}").json["retry_of"] == job
