"""Laws of reading the scores of single items, wherever the chunks begin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Asked, Evaluations
from common.store.item_scores import ItemScores
from common.store.records import Unreadable
from common.store.score_chunk import ScoreChunk, pack_scores, unpack_scores, unpack_scores_only
from tests.support.evaluated import ended_job, scores_of
from tests.support.store import Mill

VALUES = [index / 100 for index in range(60)]


@pytest.fixture
def evaluation(mill: Mill, evaluations: Evaluations, work: EvaluationWork) -> str:
    """Of 60 items in chunks of 16, 32 and 8; item 20 has no score, and the last four are not scored
    yet."""
    job_id = ended_job(mill, ["x"] * 60)
    made = evaluations.create(job_id, "t", Asked(["rouge_l"], []))
    claimed = work.claim()
    assert claimed
    values = [*VALUES[:20], math.nan, *VALUES[21:]]
    for start, end in ((0, 16), (16, 48), (48, 56)):
        assert work.keep(claimed, start, scores_of(values[start:end]), end)
    return made.id


def test_items_anywhere_have_their_own_scores(mill: Mill, evaluation: str) -> None:
    reader = ItemScores(mill.client).reader(evaluation)
    found = {index: reader.of(index) for index in (55, 0, 16, 20, 47, 56, 59)}
    assert found == {
        55: {"rouge_l": 0.55},
        0: {"rouge_l": 0.0},
        16: {"rouge_l": 0.16},
        20: {"rouge_l": None},
        47: {"rouge_l": 0.47},
        56: {},
        59: {},
    }


def test_all_scores_are_in_the_order_of_the_items(mill: Mill, evaluation: str) -> None:
    found = ItemScores(mill.client).all(evaluation, "rouge_l", 60)
    expected = [*VALUES[:20], math.nan, *VALUES[21:56], *[math.nan] * 4]
    np.testing.assert_array_equal(found, expected)


def test_a_metric_or_an_evaluation_that_there_is_not_has_no_scores(
    mill: Mill, evaluation: str
) -> None:
    scores = ItemScores(mill.client)
    assert np.isnan(scores.all(evaluation, "bleu", 60)).all()
    assert np.isnan(scores.all("eval_0gone", "rouge_l", 60)).all()
    assert scores.reader("eval_0gone").of(1) == {}


def test_a_damaged_chunk_is_reported(mill: Mill, evaluation: str) -> None:
    mill.client.hset(f"pm:eval:{evaluation}:scores", "16", b"damaged")
    with pytest.raises(Unreadable, match="from item 16 on"):
        ItemScores(mill.client).all(evaluation, "rouge_l", 60)


def test_scores_alone_are_those_of_the_whole_chunk() -> None:
    rng = np.random.default_rng(5)
    widths = {"bleu": 10, "chrf": 18, "rouge_l": 1}
    for count in (1, 16, 512):
        chunk = ScoreChunk(
            {name: rng.random((count, width)) for name, width in widths.items()},
            {name: rng.random(count) for name in widths},
            np.zeros(count, np.bool_),
            np.full(count, np.nan),
        )
        blob = pack_scores(chunk)
        for found in (unpack_scores_only(blob), unpack_scores(blob).scores):
            assert list(found) == list(widths)
            for name in widths:
                np.testing.assert_array_equal(found[name], chunk.scores[name])
