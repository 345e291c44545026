"""Statistics of human ratings: strengths, agreement, sides."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from evals.arrays import Floats
from evals.bradley_terry import rank, strengths
from evals.krippendorff_alpha import Agreement, Level, agreement
from evals.seeds import generator
from evals.sides import swapped
from evals.votes import Side, Vote, both_orders, wins

# What evalica 0.4.2 makes of these wins, with half a win more for each of every pair.
EVALICA = [
    ([[0, 3, 5], [1, 0, 4], [2, 2, 0]], [0.514484, -0.056136, -0.458348]),
    ([[0, 10, 0], [0, 0, 7.5], [0, 2.5, 0]], [1.826310, -0.523275, -1.303035]),
    ([[0, 40], [0, 0]], [2.197225, -2.197225]),
    (
        [[0, 12, 3, 9], [8, 0, 6.5, 4], [17, 3.5, 0, 11], [1, 6, 2, 0]],
        [0.030605, -0.112653, 0.738772, -0.656724],
    ),
]

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): 4 observers, 12 units.
NO = None
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NO, NO, NO],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NO, 3],
    [NO, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NO],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NO],
]


@pytest.mark.parametrize(("wins", "wanted"), EVALICA)
def test_strengths_equal_those_of_evalica(wins: list[list[float]], wanted: list[float]) -> None:
    assert strengths(np.array(wins, float)) == pytest.approx(wanted, abs=1e-5)


def test_strengths_add_up_to_nothing_and_explain_as_many_wins_as_there_were() -> None:
    wins = np.random.default_rng(1).integers(0, 50, (20, 5, 5)) * (1.0 - np.eye(5))
    found = strengths(wins)
    assert found.sum(axis=1) == pytest.approx(np.zeros(20), abs=1e-9)
    wins = (wins + 0.5) * (1 - np.eye(5))
    votes = wins + wins.transpose(0, 2, 1)
    expected = votes / (1 + np.exp(found[:, None, :] - found[:, :, None]))
    assert expected.sum(axis=2) == pytest.approx(wins.sum(axis=2), rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 1000, 1_000_000])
def test_who_won_every_vote_is_not_infinitely_strong(count: int) -> None:
    found = strengths(np.array([[0.0, count], [0.0, 0.0]]))
    assert found == pytest.approx(np.array([0.5, -0.5]) * math.log((count + 0.5) / 0.5), abs=1e-6)


def votes(true: Floats, rows: int, seed: int) -> Floats:
    """A vote on every pair, for each row."""
    draws, jobs = generator("votes", str(seed)), len(true)
    wins = np.zeros((rows, jobs, jobs))
    chance = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    for one in range(jobs):
        for other in range(one):
            won = draws.random(rows) < chance[one, other]
            wins[:, one, other], wins[:, other, one] = won, ~won
    return wins


def test_simulated_strengths_are_recovered() -> None:
    true = np.array([0.9, 0.2, -0.3, -0.8])
    assert rank(votes(true, 20_000, 1), generator("a")).strengths == pytest.approx(true, abs=0.05)


def test_intervals_of_strengths_hold_the_true_ones() -> None:
    true = np.array([0.6, 0.0, -0.6])
    hits = []
    for trial in range(200):
        told = rank(votes(true, 150, trial), generator("study", str(trial)))
        hits += [
            between is not None and between[0] <= strength <= between[1]
            for between, strength in zip(told.intervals, true, strict=True)
        ]
    assert 0.91 <= np.mean(hits) <= 0.98


def test_ranking_tells_win_rates_and_how_few_votes_there_are() -> None:
    wins = np.zeros((19, 3, 3))
    wins[:, 0, 1] = 1
    wins[0, 0, 1] = wins[0, 1, 0] = 0.5
    told = rank(wins, generator("a"))
    assert told.intervals == [None, None, None]
    assert told.win_rates == [18.5 / 19, 0.5 / 19, None]
    assert told.strengths[0] > told.strengths[2] > told.strengths[1]
    assert told.prior == "one tie per pair"


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(level: Level, alpha: float) -> None:
    found = agreement(OBSERVERS, level).alpha
    assert found == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_one_without_a_disagreement_and_near_zero_by_chance(level: Level) -> None:
    assert agreement([[1, 2, 3, None], [1, 2, 3, 4]], level) == Agreement(1.0)
    ratings = np.random.default_rng(1).integers(1, 6, (3, 3000)).tolist()
    assert agreement(ratings, level).alpha == pytest.approx(0, abs=0.03)
    assert (agreement([[1, 2, 1, 2], [2, 1, 2, 1]], level).alpha or 0) < 0


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ([], "no_pairs"),
        ([[], []], "no_pairs"),
        ([[1, 2, 3]], "no_pairs"),
        ([[1, None], [None, 2]], "no_pairs"),
        ([[3, 3], [3, 3]], "no_variation"),
        ([[3, 1], [3, None]], "no_variation"),
    ],
)
def test_alpha_is_null_with_a_reason(ratings: list[list[float | None]], reason: str) -> None:
    found = agreement(ratings, "ordinal")
    assert (found.alpha, found.reason) == (None, reason)


def test_successive_rows_show_opposite_sides_and_the_first_is_by_chance() -> None:
    for rater in ("rater_1", "rater_2"):
        sides = [swapped("study_1", rater, position) for position in range(100)]
        assert all(one != other for one, other in pairwise(sides))
        assert sides == [swapped("study_1", rater, position) for position in range(100)]
    first = [swapped("study_1", f"rater_{number}", 0) for number in range(200)]
    assert 70 < sum(first) < 130


def test_a_judge_that_prefers_a_side_decides_nothing() -> None:
    sides: tuple[Side, ...] = ("left", "right", "tie")
    assert [both_orders(side, side) for side in sides] == ["tie", "tie", "tie"]
    found = [Vote(row, 0, 1, both_orders("left", "left")) for row in range(50)]
    assert rank(wins(found, 50, 2), generator("a")).win_rates == [0.5, 0.5]


def test_a_judge_that_prefers_the_longer_text_decides_as_often_as_lengths_differ() -> None:
    lengths = [(3, 5), (5, 3), (4, 4), (9, 1)]

    def judge(left: int, right: int) -> Side:
        return "tie" if left == right else "left" if left > right else "right"

    found = [both_orders(judge(one, two), judge(two, one)) for one, two in lengths]
    assert found == ["right", "left", "tie", "left"]
    assert both_orders("left", "tie") == both_orders("tie", "right") == "tie"


def test_votes_are_counted_by_job_whatever_side_it_was_on() -> None:
    told = [Vote(0, 0, 2, "left"), Vote(0, 2, 0, "right"), Vote(1, 1, 2, "tie")]
    counted = wins(told, 2, 3)
    assert counted[0].tolist() == [[0, 0, 2], [0, 0, 0], [0, 0, 0]]
    assert counted[1].tolist() == [[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]]
    with pytest.raises(ValueError, match="compares job 1 with itself"):
        wins([Vote(0, 1, 1, "left")], 1, 3)
