"""How far a judge agrees with people who rated the same outputs in a study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from common.cooperate import Steps
from common.errors import Conflict
from common.store.job import Job
from common.store.studies import Row, Study, Vote
from evals import krippendorff_alpha
from web.schemas.studies import SKIP
from web.schemas.verdicts import CriterionAgreement, JudgeAgreement
from web.services.services import Services

ROWS_READ = 200  # of a study at a time
BETTER: dict[str | float, float] = {"a": 0.0, "b": 1.0, "tie": 2.0}
Places = tuple[int, ...]  # where a row is in the sources of the judge


def agreement(
    services: Services,
    job: Job,
    study_id: str,
    tenant: str,
    found: Mapping[Places, str | float],
) -> JudgeAgreement:
    """Each rating of a row that was judged beside the judge's verdict or grade, `found` by where
    the row is in the sources.

    Raises:
        NotFound: no such study, or it is another tenant's.
        Conflict: the study is not of the judge's sources, or of another kind.
    """
    study = services.studies.get(study_id, tenant)
    assert job.input_from is not None
    jobs = [each.id for each in study.about.jobs]
    if study.about.kind != job.input_from.judge or not {*job.input_from.jobs} <= {*jobs}:
        message = f"{study_id} is no study of {job.input_from.judge} of the jobs that this judges"
        raise Conflict(message, code="other_study")
    sources = [jobs.index(source) for source in job.input_from.jobs]
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for vote, row in _votes(services, study):
        judged = found.get(tuple(row.indices[place] for place in sources))
        if judged is None or {vote.task.left, vote.task.right} != {*sources}:
            continue
        for criterion, said in vote.answers.items():
            if said != SKIP:
                rating = _rating(vote, said, sources)
                pairs[criterion].append((BETTER.get(judged, judged), rating))  # type: ignore[arg-type]
    level: krippendorff_alpha.Level = "nominal" if study.about.kind == "pairs" else "ordinal"
    return JudgeAgreement(
        study=study_id,
        criteria={name: _agreement(pairs[name], level) for name in study.about.criteria},
    )


def _votes(services: Services, study: Study) -> Iterator[tuple[Vote, Row]]:
    steps = Steps()
    for some in services.studies.votes(study.id):
        numbers = sorted({vote.task.row for vote in some})
        rows: dict[int, Row] = {}
        for first in range(0, len(numbers), ROWS_READ):
            rows |= services.studies.rows(study.id, numbers[first : first + ROWS_READ])
            steps.step()
        yield from ((vote, rows[vote.task.row]) for vote in some)


def _rating(vote: Vote, said: str | int, sources: Sequence[int]) -> float:
    """What a person said, as the judge would have."""
    if isinstance(said, int):
        return float(said)
    if said == "tie":
        return BETTER["tie"]
    preferred = vote.task.left if said == "left" else vote.task.right
    return BETTER["a" if preferred == sources[0] else "b"]


def _agreement(
    pairs: Sequence[tuple[float, float]], level: krippendorff_alpha.Level
) -> CriterionAgreement:
    ratings = [[pair[rater] for pair in pairs] for rater in (0, 1)]
    found = krippendorff_alpha.agreement(ratings, level)
    return CriterionAgreement(
        ratings=len(pairs),
        agreed=sum(judged == rating for judged, rating in pairs),
        alpha=found.alpha,
        reason=found.reason,
    )
