"""What the votes of a study amount to, by criterion.

Computed when asked for and kept until something changes. It takes up to two seconds for 50,000
votes, so it runs in a real thread, one at a time, and other requests run meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import gevent
import numpy as np

from common.cooperate import Steps
from common.store.studies import Study, Vote
from evals import bradley_terry, krippendorff_alpha, scales, votes
from evals.seeds import generator
from web.schemas.studies import (
    SCALE,
    SKIP,
    Agreement,
    CriterionResults,
    PairScore,
    ScaleScore,
)
from web.services.services import Services

_one_at_a_time = threading.Lock()
SIDES: dict[str | int, votes.Side] = {"left": "left", "right": "right", "tie": "tie"}


def study_results(services: Services, study: Study) -> dict[str, CriterionResults]:
    """By criterion, of all ratings that there are."""
    kept = services.studies.kept_results(study)
    if kept is None:
        with _one_at_a_time:
            read = _read(services, study.id)
            found = gevent.get_hub().threadpool.apply(computed, (study, read))
        kept = {name: each.model_dump(mode="json") for name, each in found.items()}
        services.studies.keep_results(study, kept)
    return {name: CriterionResults.model_validate(each) for name, each in kept.items()}


def _read(services: Services, study_id: str) -> list[Vote]:
    found, steps = [], Steps()
    for some in services.studies.votes(study_id):
        found += some
        steps.step()
    return sorted(found, key=lambda vote: (vote.number, vote.rater))


def computed(study: Study, ratings: Sequence[Vote]) -> dict[str, CriterionResults]:
    """Pure, and the same for the same ratings."""
    of = _pairs if study.about.kind == "pairs" else _scale
    return {
        criterion: of(study, criterion, [each for each in ratings if criterion in each.answers])
        for criterion in study.about.criteria
    }


def _pairs(study: Study, criterion: str, ratings: Sequence[Vote]) -> CriterionResults:
    given = [vote for vote in ratings if vote.answers[criterion] != SKIP]
    numbers = _numbered_rows(given)
    compared = [
        votes.Vote(
            numbers[vote.task.row],
            vote.task.left,
            vote.task.right,
            SIDES[vote.answers[criterion]],
        )
        for vote in given
    ]
    jobs = study.about.jobs
    ranking = bradley_terry.rank(
        votes.wins(compared, len(numbers), len(jobs)), generator(study.id, criterion)
    )
    tally = _tally(compared, len(jobs))
    levels = {better: place for place, better in enumerate(("first", "second", "tie"))}
    agreed = _agreement(given, [float(levels[_in_order(vote)]) for vote in compared], "nominal")
    scores = [
        PairScore(
            job=job.id,
            wins=tally[at][0],
            losses=tally[at][1],
            ties=tally[at][2],
            win_rate=ranking.win_rates[at],
            strength=ranking.strengths[at],
            low=_end(ranking.intervals[at], 0),
            high=_end(ranking.intervals[at], 1),
        )
        for at, job in enumerate(jobs)
    ]
    return CriterionResults(
        votes=len(given),
        skips=len(ratings) - len(given),
        rows=len(numbers),
        prior=ranking.prior,
        jobs=scores,
        agreement=agreed,
    )


def _scale(study: Study, criterion: str, ratings: Sequence[Vote]) -> CriterionResults:
    given = [vote for vote in ratings if vote.answers[criterion] != SKIP]
    numbers, jobs = _numbered_rows(given), study.about.jobs
    sums, counts = np.zeros((2, len(numbers), len(jobs)))
    spread = np.zeros((len(jobs), SCALE), np.int64)
    for vote in given:
        value, row, job = int(vote.answers[criterion]), numbers[vote.task.row], vote.task.left
        sums[row, job] += value
        counts[row, job] += 1
        spread[job, value - 1] += 1
    found = scales.means(sums, counts, generator(study.id, criterion))
    scores = [
        ScaleScore(
            job=job.id,
            votes=int(counts[:, at].sum()),
            mean=found.means[at],
            low=_end(found.intervals[at], 0),
            high=_end(found.intervals[at], 1),
            counts=[int(each) for each in spread[at]],
        )
        for at, job in enumerate(jobs)
    ]
    values = [float(vote.answers[criterion]) for vote in given]
    return CriterionResults(
        votes=len(given),
        skips=len(ratings) - len(given),
        rows=len(numbers),
        prior=None,
        jobs=scores,
        agreement=_agreement(given, values, "ordinal"),
    )


def _numbered_rows(given: Sequence[Vote]) -> dict[int, int]:
    """Rows with a vote, numbered: those without one say nothing, and are not resampled."""
    return {row: number for number, row in enumerate(sorted({vote.task.row for vote in given}))}


def _tally(compared: Sequence[votes.Vote], jobs: int) -> list[list[int]]:
    """Wins, losses and ties of each job."""
    found = [[0, 0, 0] for _ in range(jobs)]
    for vote in compared:
        if vote.better == "tie":
            found[vote.left][2] += 1
            found[vote.right][2] += 1
        else:
            won, lost = (
                (vote.left, vote.right) if vote.better == "left" else (vote.right, vote.left)
            )
            found[won][0] += 1
            found[lost][1] += 1
    return found


def _in_order(vote: votes.Vote) -> str:
    """Which job was better, whatever their sides: the first or the second of the study."""
    if vote.better == "tie":
        return "tie"
    return "first" if (vote.better == "left") == (vote.left < vote.right) else "second"


def _agreement(
    given: Sequence[Vote], values: Sequence[float], level: krippendorff_alpha.Level
) -> Agreement:
    """Of values that each rater gave to each task."""
    units = {number: at for at, number in enumerate(sorted({vote.number for vote in given}))}
    raters = {name: at for at, name in enumerate(sorted({vote.rater for vote in given}))}
    table: list[list[float | None]] = [[None] * len(units) for _ in raters]
    for vote, value in zip(given, values, strict=True):
        table[raters[vote.rater]][units[vote.number]] = value
    found = krippendorff_alpha.agreement(table, level)
    return Agreement.model_validate({"alpha": found.alpha, "level": level, "reason": found.reason})


def _end(interval: tuple[float, float] | None, end: int) -> float | None:
    return interval[end] if interval else None
