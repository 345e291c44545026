"""The scores of a job's rows: those of its newest evaluation that is done, or of the one that was
asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.errors import Conflict, NotFound
from common.store.evaluations import Evaluation
from common.store.job import Job
from evals.registry import METRICS
from web.schemas.metrics import names_of
from web.services.services import Services

Scores = dict[str, float | None]


def scored_by(
    services: Services, job: Job, tenant: str, evaluation_id: str | None
) -> RowScores | None:
    """The scores of the evaluation that is named, else of the newest that is done; None where there
    is none.

    Raises:
        NotFound: the job has no such evaluation.
        Conflict: it is not done.
    """
    if evaluation_id is None:
        newest = services.evaluations.newest_done(job.id)
        return RowScores(services, newest) if newest else None
    found = services.evaluations.get(evaluation_id, tenant)
    if found.job != job.id:
        raise NotFound(f"no evaluation {evaluation_id[:80]!r} of {job.id}", field="evaluation")
    if found.status != "done":
        message = f"evaluation {found.id} is {found.status}; its scores are there when it is done"
        raise Conflict(message, code="evaluation_not_done", field="evaluation")
    return RowScores(services, found)


class RowScores:
    """The scores of one evaluation. `names` are what they are called in rows, by metric."""

    def __init__(self, services: Services, evaluation: Evaluation):
        self._reader = services.item_scores.reader(evaluation.id)
        self.evaluation = evaluation
        self.names = {
            name: METRICS[name].row_name if name in METRICS else name
            for name in names_of(evaluation.asked.metrics)
        }

    def of(self, index: int) -> Scores:
        """Of one item, by what they are called; None where it has none."""
        found = self._reader.of(index)
        return {shown: _finite(found.get(name)) for name, shown in self.names.items()}

    def look_ahead(self, indices: Sequence[int]) -> None:
        """Read at once the scores of these items, which are asked for next."""
        self._reader.look_ahead(indices)

    def none(self) -> Scores:
        """Of an item without any."""
        return dict.fromkeys(self.names.values())


def _finite(score: float | None) -> float | None:
    """A perplexity may be too large for JSON."""
    return score if score is not None and math.isfinite(score) else None
