"""Judges: jobs that compare the outputs of two jobs in both orders, or grade those of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.derived import (
    PAIR,
    answer_all,
    can_judge,
    derive,
    derived,
    items,
    rendered,
    settle,
)
from tests.support.web import Web

OUTPUTS = [("short", "rather longer"), ("the longest of all", "a"), ("same", "size"), ("x", "yy")]


@pytest.fixture
def bench(web: Web) -> Web:
    return can_judge(web)


def sources(web: Web, outputs: list[tuple[str, str]] = OUTPUTS) -> list[str]:
    """Two jobs that are over, with these outputs."""
    found = []
    for side in (0, 1):
        rows = [{"prompt": "p", "custom_id": f"q{i}"} for i in range(len(outputs))]
        found.append(web.post("/v1/jobs", json={"items": rows}).json["id"])
        answer_all(web, *(pair[side] for pair in outputs))
    return found


def judge(web: Web, says: Callable[[str, str], str], *jobs: str, **fields: Any) -> Any:
    """What is told of a judge that says this of the two outputs in the order it is shown them."""
    made = derived(web, *jobs, judge="pairs", **fields)
    settle(web)
    while shown := rendered(web, made)[judged(web, made) :][:8]:
        answer_all(web, *(says(*text.split(" or ")) for text in shown))
    return web.get(f"/v1/jobs/{made}/verdicts").json


def judged(web: Web, made: str) -> int:
    return sum(row["status"] == "succeeded" for row in items(web, made))


def longer(first: str, second: str) -> str:
    if len(first) == len(second):
        return "tie"
    return "A" if len(first) > len(second) else "B"


def test_a_judge_that_always_answers_a_finds_only_ties(bench: Web) -> None:
    found = judge(bench, lambda *_: "A", *sources(bench))
    assert [(row["first"], row["second"], row["verdict"]) for row in found["data"]] == [
        ("a", "b", "tie")
    ] * len(OUTPUTS)
    totals = found["totals"]
    assert (totals["wins_a"], totals["ties"], totals["wins_b"]) == (0, 4, 0)
    assert (totals["rows"], totals["judged"], totals["contradictions"]) == (4, 4, 4)


def test_one_that_prefers_the_longer_text_whatever_its_side_finds_exactly_those(
    bench: Web,
) -> None:
    found = judge(bench, longer, *sources(bench))
    assert [row["verdict"] for row in found["data"]] == ["b", "a", "tie", "b"]
    assert [row["custom_id"] for row in found["data"]] == ["q0", "q1", "q2", "q3"]
    assert [row["index"] for row in found["data"]] == [{"a": i, "b": i} for i in range(4)]
    totals = found["totals"]
    assert (totals["wins_a"], totals["ties"], totals["wins_b"]) == (1, 1, 2)
    assert totals["contradictions"] == 0


def test_each_pair_is_shown_in_both_orders_and_answered_by_one_of_three_labels(
    bench: Web,
) -> None:
    made = derive(bench, *sources(bench, OUTPUTS[:1]), judge="pairs").json
    assert made["judge"] == "pairs"
    assert made["params"] == {
        "output": {"choice": ["A", "B", "tie"]},
        "temperature": 0.0,
    }
    settle(bench)
    assert rendered(bench, made["id"]) == ["short or rather longer", "rather longer or short"]
    rows = items(bench, made["id"])
    assert [row["custom_id"] for row in rows] == ["q0#ab", "q0#ba"]
    assert [row["metadata"]["order"] for row in rows] == ["ab", "ba"]


def test_a_row_that_was_judged_once_has_no_verdict(bench: Web) -> None:
    made = derived(bench, *sources(bench), judge="pairs")
    before = bench.get(f"/v1/jobs/{made}/verdicts").json
    assert (before["data"], before["totals"]["rows"]) == ([], 0)
    settle(bench)
    answer_all(bench, "A", "B", "A")
    bench.worker().run(1, error="engine_error")
    answer_all(bench, "tie")
    found = bench.get(f"/v1/jobs/{made}/verdicts").json
    told = [(row["first"], row["second"], row["verdict"]) for row in found["data"]]
    assert told == [("a", "a", "a"), ("a", None, None), ("tie", None, None), (None, None, None)]
    assert (found["totals"]["judged"], found["totals"]["rows"]) == (1, 4)
    answer_all(bench, "tie", "B", "A")
    found = bench.get(f"/v1/jobs/{made}/verdicts").json
    assert [row["verdict"] for row in found["data"]] == ["a", None, "tie", "b"]


def test_verdicts_come_in_pages(bench: Web) -> None:
    made = judge(bench, longer, *sources(bench))
    del made
    job_id = bench.get("/v1/jobs").json["data"][0]["id"]
    first = bench.get(f"/v1/jobs/{job_id}/verdicts?limit=3").json
    assert ([row["row"] for row in first["data"]], first["has_more"]) == ([0, 1, 2], True)
    rest = bench.get(f"/v1/jobs/{job_id}/verdicts?limit=3&after={first['after']}").json
    assert ([row["row"] for row in rest["data"]], rest["has_more"]) == ([3], False)
    assert rest["totals"] == first["totals"]
    assert bench.get(f"/v1/jobs/{job_id}/verdicts?after=99").json["data"] == []


def test_a_scale_grades_the_outputs_of_one_job(bench: Web) -> None:
    source = sources(bench)[0]
    template = {"prompt": "grade {{output}}"}
    made = derived(bench, source, judge="scale", template=template)
    settle(bench)
    answer_all(bench, "5", "1", "5")
    bench.worker().run(1, error="engine_error")
    found = bench.get(f"/v1/jobs/{made}/verdicts").json
    assert [row["grade"] for row in found["data"]] == [5, 1, 5, None]
    assert found["totals"]["mean"] == pytest.approx(11 / 3)
    assert found["totals"]["grades"] == {"1": 1, "5": 2}
    own = {"params": {"output": {"choice": ["-1", "0.5"]}}}
    assert derive(bench, source, judge="scale", template=template, **own).status_code == 202


def test_what_could_not_be_judged_is_refused(bench: Web) -> None:
    first, second = sources(bench)
    pairs, scale = {"judge": "pairs"}, {"judge": "scale"}
    other = {"params": {"output": {"choice": ["left", "right"]}}}
    words = {"params": {"output": {"choice": ["good", "bad"]}}}
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        ([first], {**pairs}, "input_from.jobs"),
        ([first, second], {**scale}, "input_from.jobs"),
        ([first, second], {**pairs, **other}, "params.output"),
        ([first], {**scale, **words}, "params.output"),
        ([first, second], {**pairs, "template": {"prompt": "{{output_a}}?"}}, "template"),
        ([first], {**scale, "template": {"prompt": "{{prompt}}?"}}, "template"),
        ([first, second], {"judge": "jury"}, "judge"),
    ]
    for jobs, fields, field in cases:
        answer = derive(bench, *jobs, **fields)
        assert answer.status_code == 422, answer.text
        assert answer.json["errors"][0]["field"] == field, answer.text


def test_only_judges_have_verdicts_and_only_for_their_tenant(bench: Web) -> None:
    first, second = sources(bench)
    assert bench.get(f"/v1/jobs/{first}/verdicts").json["code"] == "no_judge"
    made = derived(bench, first, second, judge="pairs", template=PAIR)
    key = bench.services.api_keys.create_key("other")
    assert bench.get(f"/v1/jobs/{made}/verdicts", key=key).status_code == 404
    settle(bench)
    more = bench.post(f"/v1/jobs/{made}/items", json={"prompts": ["a"]})
    assert (more.status_code, more.json["code"]) == (409, "judge_is_fixed")
