"""Comparisons of a tenant's jobs: asked for here, computed by the evaluator, shown with the jobs'
settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from common.errors import Conflict, NotFound, Unavailable
from common.store.comparisons import Asked, Comparison
from common.store.evaluations import Evaluation
from common.store.job import Job
from common.types import JsonObject
from web.jobs.comparison_settings import differing, settings_of
from web.schemas.comparisons import ComparisonView
from web.services.services import Services
from web.wire.links import base_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Jobs that can be compared, each with its evaluation."""

    jobs: list[Job]
    evaluations: list[Evaluation]

    @property
    def asked(self) -> Asked:
        return Asked(
            tuple(job.id for job in self.jobs), tuple(each.id for each in self.evaluations)
        )


def wanted(services: Services, tenant: str, job_ids: Sequence[str]) -> Wanted:
    """These jobs with their newest evaluations.

    Raises:
        NotFound: there is no such job, or it is another tenant's.
        Conflict: a job is not over, or was not evaluated; the message names all that are not.
    """
    by_id = {job_id: services.store.job(job_id, tenant) for job_id in dict.fromkeys(job_ids)}
    if running := [job for job in by_id.values() if not job.status.terminal]:
        told = "; ".join(f"{job.id} is {job.status.value}" for job in running)
        raise Conflict(
            f"{told}: jobs are compared when they are over; GET /v1/jobs/{running[0].id}?wait=60 "
            "waits for the end",
            code="job_not_over",
        )
    done = {job_id: services.evaluations.newest_done(job_id) for job_id in by_id}
    if missing := [job_id for job_id, found in done.items() if found is None]:
        raise _not_evaluated(services, missing)
    evaluations = [found for job_id in job_ids if (found := done[job_id])]
    return Wanted([by_id[job_id] for job_id in job_ids], evaluations)


def _not_evaluated(services: Services, missing: Sequence[str]) -> Conflict:
    going = [
        f"{each.id} of {job_id} is {each.status}"
        for job_id in missing
        for each in services.evaluations.of_job(job_id)[:1]
        if each.status in ("queued", "running")
    ]
    if going:
        return Conflict(
            f"{'; '.join(going)}: jobs are compared when they are evaluated; "
            "GET /v1/evaluations/{id}?wait=60 waits for that",
            code="evaluation_not_over",
        )
    return Conflict(
        f"{' and '.join(missing)} {'were' if len(missing) > 1 else 'was'} not evaluated: "
        f'POST /v1/jobs/{missing[0]}/evaluations with {{"metrics": ["rouge_l"]}}, or '
        f"`promptmill evaluate {missing[0]} --metric rouge_l`, does that",
        code="not_evaluated",
    )


def comparison(services: Services, tenant: str, asked: Asked) -> Comparison:
    """As far as it is; the first that asks for it has it queued.

    Raises:
        NotFound: a job was deleted meanwhile.
        TooMany: too many comparisons of the tenant wait.
        Unavailable: it could not be computed.
    """
    try:
        found = services.comparisons.get(asked.id)
    except NotFound:
        if services.comparisons.create(tenant, asked):
            _ring(services, asked)
        return Comparison(asked.id, "queued", None)
    if found.status == "failed":
        raise Unavailable(
            "the comparison could not be computed, and is tried again half a minute after it "
            "failed; the evaluator's log says why",
            code="comparison_failed",
        )
    return found


def _ring(services: Services, asked: Asked) -> None:
    try:
        services.ring_sender.wake_evaluator()
    except Unavailable as error:
        log.warning("the evaluator could not be rung: %s", error, extra={"comparison": asked.id})


def comparison_view(services: Services, tenant: str, found: Wanted) -> ComparisonView:
    """What is known of it.

    Raises: as `comparison`.
    """
    result = comparison(services, tenant, found.asked).result
    preps = {job.id: services.store.prep(job.id) for job in found.jobs}
    settings = differing([settings_of(job, preps[job.id]) for job in found.jobs])
    figures = result["jobs"] if result else [{}] * len(found.jobs)
    view: dict[str, Any] = {
        "status": "done" if result else "running",
        "jobs": [
            {
                "id": job.id,
                "name": job.spec.get("metadata", {}).get("name"),
                "model": job.model,
                "evaluation": evaluation.id,
                "retries": job.retries,
                **numbers,
            }
            for job, evaluation, numbers in zip(found.jobs, found.evaluations, figures, strict=True)
        ],
        "settings": [each._asdict() for each in settings],
        "links": _links(services, found),
    }
    if result:
        view |= {name: result[name] for name in ("matched", "left_out")}
        view["metrics"] = [_metric(each, found) for each in result["metrics"]]
    return ComparisonView.model_validate(view)


def _metric(computed: JsonObject, found: Wanted) -> JsonObject:
    """With the jobs' ids."""
    jobs = zip(found.jobs, computed["jobs"], strict=True)
    return {**computed, "jobs": [{"job": job.id, **numbers} for job, numbers in jobs]}


def _links(services: Services, found: Wanted) -> dict[str, str]:
    base, query = (
        base_url(services),
        urlencode({"jobs": ",".join(j.id for j in found.jobs)}, safe=","),
    )
    return {
        "self": f"{base}/v1/comparisons?{query}",
        "rows": f"{base}/v1/comparisons/rows?{query}",
        "page": f"{base}/compare?{query}",
    }
