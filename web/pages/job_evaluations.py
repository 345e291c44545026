"""The evaluations of a job as its pages need them: which one is shown, and the scores of items that
are columns of a list, its order, or its filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import InvalidRequest, NotFound
from common.store.evaluations import Evaluation
from evals.metric import Metric
from evals.registry import METRICS
from web.intake.validation_messages import validated
from web.jobs.score_view import ScoreChoice, ScoreView
from web.schemas.answers import JobView
from web.schemas.metrics import names_of
from web.schemas.queries import ScoreRange
from web.services.services import Services

MOST_COLUMNS = 4  # of scores in a list; an item's page has all
SCORE_CHOICES = ("metric", "least", "below")  # what an address says of scores, beside the order
SCORE_ORDERS = {"score": "Lowest score first", "-score": "Highest score first"}


@dataclass(frozen=True)
class JobEvaluations:
    """All evaluations of a job, the newest first, and the one that is shown: the one that the
    address names, else the newest that is done. `named` is what the address said."""

    every: Sequence[Evaluation]
    shown: Evaluation | None
    named: str = ""

    @property
    def busy(self) -> bool:
        return any(each.status in ("queued", "running") for each in self.every)

    @property
    def scores_of(self) -> str | None:
        """The evaluation that is shown, if its scores can be read."""
        return self.shown.id if self.shown and self.scored_by else None

    @property
    def scored_by(self) -> list[Metric]:
        """The metrics that items have scores of."""
        if self.shown is None or self.shown.status != "done":
            return []
        return [METRICS[name] for name in names_of(self.shown.asked.metrics) if name in METRICS]


def job_evaluations(services: Services, job_id: str, args: Mapping[str, str]) -> JobEvaluations:
    """
    Raises:
        NotFound: the address names an evaluation that the job does not have.
    """
    every = services.evaluations.of_job(job_id)
    named = args.get("evaluation", "")
    if named:
        shown = next((each for each in every if each.id == named), None)
        if shown is None:
            raise NotFound(f"{job_id} has no evaluation {named[:80]!r}")
        return JobEvaluations(every, shown, named)
    return JobEvaluations(every, next((each for each in every if each.status == "done"), None))


@dataclass(frozen=True)
class ScoreColumns:
    """The scores in a list of items: `metrics` are its columns, and `hidden` are more."""

    metrics: Sequence[Metric] = ()
    hidden: int = 0


def score_columns(found: JobEvaluations, first: str = "") -> ScoreColumns:
    """The columns of a list; the metric `first` is the first of them."""
    ordered = sorted(found.scored_by, key=lambda metric: metric.name != first)
    return ScoreColumns(ordered[:MOST_COLUMNS], len(ordered[MOST_COLUMNS:]))


def score_view(
    services: Services, job: JobView, found: JobEvaluations, chosen: Mapping[str, str]
) -> ScoreView | None:
    """The items that a list of these choices has, by their scores; None where it says nothing of
    scores.

    Raises:
        InvalidRequest: there are no such scores, or a limit is no number.
    """
    by_score = chosen.get("order") in SCORE_ORDERS
    if not by_score and not chosen.get("least") and not chosen.get("below"):
        return None
    names = [metric.name for metric in found.scored_by]
    metric = chosen.get("metric") or (names[0] if names else "")
    if found.shown is None or metric not in names:
        has = f"it has {', '.join(names)}" if names else "it has none: evaluate it first"
        raise InvalidRequest(
            f"{job.id} has no scores of {metric[:64]!r}; {has}", field="metric", code="no_metric"
        )
    given = {name: chosen[name] for name in ("least", "below") if chosen.get(name)}
    given |= {"order": chosen["order"]} if by_score else {}
    wanted = validated(ScoreRange, {"metric": metric, **given})
    scores = services.item_scores.all(found.shown.id, metric, job.counts.total)
    return ScoreView(scores, ScoreChoice(metric, wanted.least, wanted.below, wanted.order))
