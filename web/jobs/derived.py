"""Submits jobs that are made of the rows of other jobs. Each waits for these; `deriver.py` makes
its items when they are over."""

from __future__ import annotations

import re

from common.errors import Conflict, InvalidRequest, NotFound
from common.params import SamplingParams
from common.prompting.template import Template
from common.store.job import InputFrom
from common.store.jobs import new_job_id
from common.store.submitted import key_reused
from common.types import JsonObject
from web.intake.check import Intake
from web.intake.enqueue import job_fields
from web.intake.formats import Formats
from web.intake.idempotency import key_use
from web.intake.origin import Origin
from web.intake.preparation import prep_of
from web.intake.presets import resolve_preset
from web.intake.staging import deadline_ms, queue_limits
from web.jobs.again import replayed
from web.jobs.views import job_view
from web.schemas.answers import JobView
from web.schemas.derived import DerivedOptions
from web.schemas.requests import JobOptions
from web.services.services import Services

PAIR_LABELS = ("A", "B", "tie")
SCALE = [str(grade) for grade in range(1, 6)]
GRADE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")
# What a judge says is one of its labels, the likeliest, unless the job asks otherwise.
JUDGES: dict[str, list[str]] = {"pairs": [*PAIR_LABELS], "scale": SCALE}
OUTPUTS = {1: ["output"], 2: ["output_a", "output_b"]}  # by the number of sources


def submit_derived(
    services: Services, tenant: str, wanted: DerivedOptions, idempotency_key: str | None
) -> JobView:
    """Keep a job that waits for others, and show it; durable when this returns.

    Raises:
        InvalidRequest: it cannot be made, whatever the rows of the others are.
        NotFound: the tenant has no such job, or there is no such model or preset.
        Conflict: the idempotency key made a job of other content.
        TooMany, StorageFull: as many wait for others as may, or the tenant keeps as much as it may.
    """
    sent = wanted.model_dump(mode="json", exclude_unset=True)
    origin = Origin(idempotency_key, sent=sent)
    if before := replayed(services, tenant, origin):
        return before
    assert wanted.input_from is not None
    found = InputFrom(tuple(wanted.input_from.jobs), wanted.input_from.rows, wanted.judge)
    for place, source in enumerate(found.jobs):
        _check_source(services, tenant, source, f"input_from.jobs.{place}")
    options = _as_judge(_options(services, tenant, wanted), wanted.judge)
    refuse_unfit(options, found)
    intake = _checked(services, tenant, options)
    outcome, job_id = services.derived.submit(
        new_job_id(),
        tenant,
        found,
        job_fields(services.settings, intake),
        prep_of(options),
        idempotency=key_use(idempotency_key, sent),
        deadline=deadline_ms(services.store, options.deadline),
        limits=queue_limits(services.settings),
    )
    if outcome == "conflict":
        raise key_reused("job")
    view = _view(services, job_id, tenant)
    view._replayed = outcome == "same"
    return view


def _view(services: Services, job_id: str, tenant: str) -> JobView:
    try:
        return job_view(services, job_id, tenant)
    except NotFound:
        message = f"this Idempotency-Key made {job_id}, which was deleted since"
        raise Conflict(message, code="job_deleted") from None


def _check_source(services: Services, tenant: str, job_id: str, field: str) -> None:
    """Sources exist before the jobs that wait for them, so none can come to wait for itself."""
    try:
        services.store.check_owner(job_id, tenant)
    except NotFound as error:
        raise NotFound(error.message, code="source_not_found", field=field) from None


def _options(services: Services, tenant: str, wanted: DerivedOptions) -> JobOptions:
    """With the preset in them, and the model's own name: what an alias or a preset says later does
    not change the job."""
    options = resolve_preset(services, tenant, wanted)
    model = services.models.choose(options.model)
    names = options.model_fields_set & JobOptions.model_fields.keys()
    given = {name: getattr(options, name) for name in names}
    made = JobOptions.model_validate({}).model_copy(update=given)
    return made.model_copy(update={"model": model.card.id})


def _as_judge(options: JobOptions, judge: str | None) -> JobOptions:
    """The options with the params that a judge has unless it is given others.

    Raises:
        InvalidRequest: its labels could not be counted as verdicts.
    """
    if judge is None:
        return options
    labels = options.params.output.choice if options.params.output else JUDGES[judge]
    if judge == "pairs" and {*(labels or ())} != {*PAIR_LABELS}:
        message = "a judge of pairs answers A, B or tie: leave params.output out"
        raise _unfit("params.output", message)
    if judge == "scale" and not (labels and all(map(GRADE.fullmatch, labels))):
        message = 'a judge on a scale answers numbers, like {"choice": ["1", "2", "3"]}'
        raise _unfit("params.output", message)
    usual: JsonObject = {"output": {"choice": labels}, "temperature": 0.0}
    given = options.params.model_dump(mode="json", exclude_unset=True)
    return options.model_copy(update={"params": SamplingParams.model_validate(usual | given)})


def refuse_unfit(options: JobOptions, found: InputFrom) -> None:
    """
    Raises:
        InvalidRequest: the template is missing, or names what these sources do not have.
    """
    wanted = {"pairs": 2, "scale": 1}.get(found.judge or "", len(found.jobs))
    if len(found.jobs) != wanted:
        message = f"a judge of {found.judge} takes {wanted} of them, not {len(found.jobs)}"
        raise _unfit("input_from.jobs", message)
    template = prep_of(options).get("template")
    if template is None:
        message = "a job of other jobs' rows needs a template, which says what is asked of a row"
        raise InvalidRequest(message, code="missing_field", field="template")
    named, ours = {*Template.parse(template).variables}, OUTPUTS[len(found.jobs)]
    others = {name for names in OUTPUTS.values() for name in names} - {*ours}
    told = " and ".join("{{" + name + "}}" for name in ours)
    if strange := next((name for name in sorted(others) if name in named), None):
        number = "one job" if len(ours) == 1 else "two jobs"
        raise _unfit("template", f"of {number} it has {told}, and not {{{{{strange}}}}}")
    if found.judge and not {*ours} <= named:
        raise _unfit("template", f"must show the judge what it is to judge: {told}")


def _checked(services: Services, tenant: str, options: JobOptions) -> Intake:
    """The check of the job without its items.

    Raises:
        InvalidRequest: what is asked of all of them cannot be had.
    """
    model = services.models.choose(options.model)
    formats = Formats(services.grammars, tenant, model)
    intake = Intake(model, options, services.settings, formats)
    intake.scores.check_job(options.params)
    intake.totals.n_max = options.params.n
    intake.totals.with_logprobs = int(options.params.logprobs is not None)  # as its items will
    return intake


def _unfit(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_value", field=field)
