"""Evaluations as tenants see and start them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from common.cooperate import give_way
from common.errors import Conflict, InvalidRequest, NotFound
from common.store.evaluations import Asked, Evaluation, new_evaluation_id
from common.store.job import Job
from common.store.submitted import KeyUse
from common.types import JsonObject
from evals.registry import DEFAULT, METRICS
from web.intake.asked_metrics import no_logprobs
from web.intake.idempotency import key_use, made_before
from web.intake.references import read_references
from web.jobs.views import moment
from web.schemas.evaluations import (
    EvaluationList,
    EvaluationOptions,
    EvaluationView,
    GateRule,
    Progress,
)
from web.schemas.metrics import MetricEntry, names_of
from web.services.rings import ring_evaluator
from web.services.services import Services
from web.wire.links import evaluation_links

DIGESTED = 64  # items' references, before others are served


def start(
    services: Services,
    tenant: str,
    job_id: str,
    options: EvaluationOptions,
    references: object = None,
    idempotency_key: str | None = None,
) -> tuple[Evaluation, bool]:
    """Begin an evaluation of a job that is over. Durable when this returns. Answers also whether an
    earlier request with the same idempotency key had begun it.

    `references` are as `read_references` takes them; None for those of the job's items.

    Raises:
        NotFound: the tenant has no such job, or no such job as a rule of the gate names.
        Conflict: the job is not over (`not_over`), or has as many evaluations as it may.
        KeyReused: the idempotency key began an evaluation of other content.
        InvalidRequest: no item can have one of the metrics, or with all that is wrong with the
            references in `errors`.
        StorageFull: the tenant would keep more than it may.
    """
    job = services.store.job(job_id, tenant)
    if not job.status.terminal:
        raise Conflict(f"job {job.id} is not over; evaluate it when it is", code="not_over")
    found = None if references is None else read_references(services, job, references)
    use = _key_use(idempotency_key, job_id, options, found)
    before = services.evaluations.made_with(tenant, use.idem) if use.idem else None
    if evaluation_id := made_before(use, before, "evaluation"):
        return services.evaluations.get(evaluation_id, tenant), True
    asked = Asked(metrics_of(job, options), _gate(services, tenant, options.gate))
    _refuse_impossible(job, options)
    most, new_id = services.settings.max_stored_bytes, new_evaluation_id()
    made = services.evaluations.create(
        job.id, tenant, asked, found, most_stored=most, evaluation_id=new_id, use=use
    )
    ring_evaluator(services, made.id)
    return made, made.id != new_id


def _key_use(
    key: str | None,
    job_id: str,
    options: EvaluationOptions,
    references: Mapping[int, list[str]] | None,
) -> KeyUse:
    """The use of a key for an evaluation. Of references counts which items they are of, however
    they were sent."""
    digest = hashlib.sha256()
    if key and references is not None:
        for count, index in enumerate(sorted(references)):
            digest.update(json.dumps([index, references[index]]).encode())
            if count % DIGESTED == 0:
                give_way()
    given = options.model_dump(mode="json", exclude_unset=True)
    told = None if references is None else digest.hexdigest()
    return key_use(key, {"evaluate": job_id, "given": given, "references": told})


def metrics_of(job: Job, options: EvaluationOptions) -> list[MetricEntry]:
    """The metrics that are wanted, else the job's own, else the usual ones; and those that the gate
    is about."""
    wanted = options.metrics or job.spec.get("metrics") or list(DEFAULT)
    names = names_of(wanted)
    named = dict.fromkeys(rule.metric for rule in options.gate)
    return [*wanted, *(name for name in named if name not in names)]


def _gate(services: Services, tenant: str, rules: list[GateRule]) -> list[JsonObject]:
    """The rules as they are stored.

    Raises:
        NotFound: a baseline is no job of the tenant.
    """
    for place, rule in enumerate(rules):
        if rule.baseline is not None:
            try:
                services.store.check_owner(rule.baseline, tenant)
            except NotFound:
                message = f"no job {rule.baseline}"
                raise NotFound(message, field=f"gate.{place}.baseline") from None
    return [rule.stored() for rule in rules]


def _refuse_impossible(job: Job, options: EvaluationOptions) -> None:
    """Refuse a metric that no item can have, asked for by itself or by a rule: log-probabilities
    that were not kept are not there. `surplus` is expected to be 0 where no item has any."""
    named = [(f"metrics.{place}", name) for place, name in enumerate(names_of(options.metrics))]
    named += [(f"gate.{place}.metric", rule.metric) for place, rule in enumerate(options.gate)]
    for field, name in named:
        if METRICS[name].needs == "logprobs" and not job.surplus:
            fault = no_logprobs(field, name)
            raise InvalidRequest(fault["message"], code=fault["code"], field=fault["field"])


def evaluation_view(services: Services, evaluation: Evaluation) -> EvaluationView:
    return EvaluationView(
        id=evaluation.id,
        job=evaluation.job,
        status=evaluation.status,
        origin=evaluation.origin,
        metrics=evaluation.asked.metrics,
        progress=Progress(done=evaluation.done, total=evaluation.total),
        summary=evaluation.summary,
        signatures=evaluation.signatures,
        gate=evaluation.gate,
        error=evaluation.error,
        created_at=moment(evaluation.created_at),
        started_at=moment(evaluation.started_at),
        finished_at=moment(evaluation.finished_at),
        links=evaluation_links(services, evaluation.job, evaluation.id),
    )


def evaluations_of(services: Services, job_id: str, tenant: str) -> EvaluationList:
    """All evaluations of a job, newest first.

    Raises:
        NotFound: the tenant has no such job.
    """
    services.store.check_owner(job_id, tenant)
    found = services.evaluations.of_job(job_id)
    return EvaluationList(data=[evaluation_view(services, each) for each in found])
