"""What the evaluator computes of jobs that are compared."""

from __future__ import annotations

import random

import pytest

from bench.lib.jobs import job_fields
from common.store.comparison_rows import CHANGED, FAILED, parse_block
from common.store.comparisons import Asked, Comparisons
from common.store.evaluations import Evaluations
from common.store.jobs import new_job_id
from tests.support.compared import compare_all, compared, evaluate
from tests.support.evaluated import new_job, output, run_job
from tests.support.store import Mill

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "the",
    "dog",
    "ran",
    "far",
    "away",
    "from",
    "it",
]
METRICS = ("rouge_l", "bleu", "length_chars")


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


def texts(seed: int, count: int = 60, most: int = 12) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, most))) for _ in range(count)]


def job(
    mill: Mill, outputs: list[str], seed: int = 1, tenant: str = "t", named: bool = True
) -> str:
    """A job with references, evaluated."""
    made = new_job(mill, texts(seed, len(outputs)), tenant=tenant, named=named)
    run_job(mill, outputs)
    evaluate(mill.client, made, METRICS, tenant)
    return made


def by_metric(result: dict) -> dict:
    return {each["metric"]: each for each in result["metrics"]}


def test_a_job_against_itself_differs_by_nothing(mill: Mill) -> None:
    one = job(mill, texts(2))
    result = compared(mill.client, one, one)
    assert result["matched"] | {"by": "custom_id", "rows": 60, "changed": 0} == result["matched"]
    for each in result["metrics"]:
        apart = each["jobs"][1]["difference"]
        assert (apart["value"], apart["low"], apart["high"], apart["p"]) == (0.0, 0.0, 0.0, 1.0)
        assert apart["p_holm"] == 1.0
        assert (apart["wins"], apart["losses"]) in ((0, 0), (None, None))


def test_changing_which_job_is_first_changes_the_sign_and_nothing_else(mill: Mill) -> None:
    one, other = job(mill, texts(2)), job(mill, texts(3))
    there, back = compared(mill.client, one, other), compared(mill.client, other, one)
    for before, after in zip(there["metrics"], back["metrics"], strict=True):
        apart, back_again = before["jobs"][1]["difference"], after["jobs"][1]["difference"]
        assert back_again["value"] == -apart["value"] != 0
        assert (back_again["low"], back_again["high"]) == (-apart["high"], -apart["low"])
        assert (back_again["p"], back_again["p_holm"]) == (apart["p"], apart["p_holm"])
        assert (back_again["wins"], back_again["losses"]) == (apart["losses"], apart["wins"])
        assert before["n"] == after["n"] == 60


def test_a_job_that_does_a_little_better_on_every_row_is_found(mill: Mill) -> None:
    references = texts(1)
    worse = [f"{text} xx yy zz" for text in references]
    better = [f"{text} xx yy" for text in references]
    one, other = job(mill, worse), job(mill, better)
    found = by_metric(compared(mill.client, one, other))["rouge_l"]
    apart = found["jobs"][1]["difference"]
    assert found["better"] == "higher"
    assert 0 < apart["low"] <= apart["value"] <= apart["high"]
    assert apart["p"] < 0.001
    assert apart["p"] <= apart["p_holm"] < 0.01
    assert (apart["wins"], apart["ties"], apart["losses"]) == (60, 0, 0)
    assert found["jobs"][1]["value"] - found["jobs"][0]["value"] == pytest.approx(apart["value"])


def test_rows_that_failed_or_were_not_scored_in_one_job_count_in_none(mill: Mill) -> None:
    outputs = texts(2)
    one = job(mill, outputs)
    some: list = [None if i < 5 else text for i, text in enumerate(outputs)]
    other = job(mill, some)
    result = compared(mill.client, one, other)
    assert (result["matched"]["rows"], result["matched"]["succeeded"]) == (60, 55)
    assert {each["n"] for each in result["metrics"]} == {55}
    assert by_metric(result)["rouge_l"]["jobs"][1]["difference"]["value"] == 0.0
    asked = asked_for(mill, one, other)
    blob = Comparisons(mill.client).blocks(asked.id, [0])[0]
    assert blob is not None
    block = parse_block(blob, 2, result["judged"])
    assert [bool(flag & FAILED) for flag in block.flags] == [True] * 5 + [False] * 55
    assert not (block.flags & CHANGED).any()


def test_rows_that_were_compared_with_other_references_are_counted(mill: Mill) -> None:
    outputs, own = texts(2, 8), texts(1, 8)
    one, other = job(mill, outputs), job(mill, outputs)
    given: dict[int, list[str]] = {index: [text] for index, text in enumerate(own)}
    given[0] = [" ", own[0]]  # an empty one more
    given[1] = ["another"]
    given.pop(2)  # none at all
    evaluate(mill.client, other, METRICS, references=given)
    assert compared(mill.client, one, other)["matched"]["unlike_references"] == 2
    assert compared(mill.client, other, other)["matched"]["unlike_references"] == 0


def test_without_metrics_that_take_references_nobody_asks_for_them(mill: Mill) -> None:
    one = job(mill, texts(2))
    evaluate(mill.client, one, ("length_chars",))
    other = job(mill, texts(3), seed=9)
    assert compared(mill.client, one, other)["matched"]["unlike_references"] is None


def asked_for(mill: Mill, *job_ids: str) -> Asked:
    found = [Evaluations(mill.client).newest_done(job_id) for job_id in job_ids]
    return Asked(job_ids, tuple(each.id for each in found if each))


def test_jobs_whose_items_have_another_order_are_compared_by_custom_id(mill: Mill) -> None:
    outputs = texts(2)
    one = job(mill, outputs)
    stage = mill.store.stage()
    for index in reversed(range(60)):
        stage.add(
            {"prompt": f"prompt {index}", "custom_id": f"c{index}"},
            {"reference": texts(1)[index]},
        )
    stage.close()
    about = job_fields("m", "d", 60, {"params": {}}, tenant="t")
    other = mill.store.attach(stage, about, job_id=new_job_id()).job_id
    run_job(mill, outputs[::-1])
    evaluate(mill.client, other, METRICS)
    result = compared(mill.client, one, other)
    assert result["matched"]["by"] == "custom_id"
    assert result["matched"]["changed"] == 0
    assert by_metric(result)["bleu"]["jobs"][1]["difference"]["value"] == pytest.approx(0.0)
    blob = Comparisons(mill.client).blocks(asked_for(mill, one, other).id, [0])[0]
    assert blob is not None
    places = parse_block(blob, 2, result["judged"]).places.tolist()
    assert places == [[i, 59 - i] for i in range(60)]


def test_items_without_custom_ids_are_compared_by_position(mill: Mill) -> None:
    one, other = job(mill, texts(2), named=False), job(mill, texts(3)[:40], named=False)
    matched = compared(mill.client, one, other)["matched"]
    assert (matched["by"], matched["reason"], matched["rows"]) == ("position", "no_custom_ids", 40)
    assert matched["unmatched"] == [20, 0]


def test_four_jobs_are_each_compared_with_the_first(mill: Mill) -> None:
    jobs = [job(mill, texts(seed)) for seed in (2, 3, 4, 5)]
    result = compared(mill.client, *jobs)
    for each in result["metrics"]:
        assert each["jobs"][0]["difference"] is None
        assert all(one["difference"]["p"] is not None for one in each["jobs"][1:])
    pair = by_metric(compared(mill.client, jobs[0], jobs[2]))["rouge_l"]["jobs"][1]
    assert by_metric(result)["rouge_l"]["jobs"][2]["difference"]["value"] == pytest.approx(
        pair["difference"]["value"]
    )


def test_only_metrics_that_all_have_and_made_alike_are_compared(mill: Mill) -> None:
    one = new_job(mill, texts(1))
    run_job(mill, texts(2))
    evaluate(mill.client, one, ["bleu", "rouge_l"])
    other = new_job(mill, texts(1))
    run_job(mill, texts(3))
    evaluation = evaluate(mill.client, other, ["bleu", "chrf"])
    signature = "nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0"
    mill.client.hset(f"pm:eval:{evaluation}", "signatures", f'{{"bleu": "{signature}"}}')
    result = compared(mill.client, one, other)
    assert result["metrics"] == []
    assert result["left_out"] == [
        {"metric": "bleu", "reason": "signatures_differ"},
        {"metric": "rouge_l", "reason": "not_in_all"},
        {"metric": "chrf", "reason": "not_in_all"},
    ]


def test_speed_lengths_and_ends_are_those_of_rows_that_all_have_done(mill: Mill) -> None:
    one = new_job(mill, ["a"] * 4)
    run_job(mill, [output("a b", finish_reason="stop")] * 4)
    evaluate(mill.client, one)
    other = new_job(mill, ["a"] * 4)
    run_job(mill, [output("a"), None, output("a", finish_reason="stop"), output("a")])
    evaluate(mill.client, other)
    first, second = compared(mill.client, one, other)["jobs"]
    assert first["finish_reasons"] == {"stop": 3}
    assert second["finish_reasons"] == {"length": 2, "stop": 1}


def test_an_evaluator_that_dies_in_the_middle_changes_nothing(mill: Mill) -> None:
    one, other = job(mill, texts(2)), job(mill, texts(3))
    undisturbed = compared(mill.client, one, other)
    asked = asked_for(mill, one, other)
    comparisons = Comparisons(mill.client)
    for kept in (False, True):
        mill.client.delete(f"pm:comparison:{asked.id}")
        assert comparisons.create("t", asked)
        dead = comparisons.claim()
        assert dead is not None
        if kept:
            comparisons.keep_rows(dead, {0: b"half of it"})
        mill.client.zadd("pm:comparisons:due:t", {asked.id: 1})  # its claim ends
        assert compare_all(mill.client) == 1
        assert comparisons.get(asked.id).result == undisturbed
        assert not comparisons.end(dead, {}, 0)


def test_a_job_that_is_deleted_meanwhile_ends_it_quietly(mill: Mill) -> None:
    one, other = job(mill, texts(2)), job(mill, texts(3))
    comparisons = Comparisons(mill.client)
    comparisons.create("t", asked_for(mill, one, other))
    claimed = comparisons.claim()
    assert claimed is not None
    mill.client.zadd("pm:comparisons:due:t", {claimed.id: 1})
    mill.store.delete(other)
    assert compare_all(mill.client) == 0
    assert mill.client.keys("pm:comparison*") == []
