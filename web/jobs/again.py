"""Runs items of a job again as another job: retries of what failed, and reruns with changes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

from common.errors import Conflict
from common.params import SamplingParams, lacked
from common.store.job import Job
from common.store.job_prep import JobPrep
from common.store.submitted import key_reused
from common.types import ItemState, ModelCard
from web.intake.drafts import Draft
from web.intake.idempotency import check_key, sent_fingerprint
from web.intake.origin import Origin
from web.intake.presets import REPLACED, resolve_preset
from web.jobs.actions import submit_job
from web.jobs.item_params import ItemParams, kept_apart
from web.jobs.stored_drafts import Change, Choice, drafts_again
from web.jobs.submitted import options_of
from web.jobs.views import job_view
from web.schemas.answers import JobView
from web.schemas.requests import JobOptions
from web.schemas.rerun import RerunRequest
from web.services.services import Services

MOST_RETRIES = 1000  # of one job, whose record lists them
FAILED = Choice(frozenset({ItemState.FAILED}))
# What a rerun may say in place of the job.
OVER = {"params", "template", "preset", "metrics", "evaluate"}
ROWS = {
    "all": frozenset(ItemState),
    "failed": FAILED.states,
    "unfinished": frozenset({ItemState.CANCELLED, ItemState.EXPIRED}),
    "succeeded": frozenset({ItemState.SUCCEEDED}),
}


def retry_job(
    services: Services,
    job_id: str,
    tenant: str,
    idempotency_key: str | None = None,
    errors: frozenset[str] = frozenset(),
) -> JobView:
    """Make a new job, linked to this one, of the items that failed, or of those that failed with
    one of these error codes. This one and its attempts stay as they are.

    Raises:
        Conflict: the job is not over yet, none of its failed items could run, or it was retried too
        often.
    """
    origin = Origin.retry(job_id, idempotency_key)
    if before := replayed(services, tenant, origin):
        return before
    job = services.store.job(job_id, tenant)
    _refuse_unfinished(job, "retry what failed when it is")
    if not job.failed:
        raise Conflict(
            f"no item of job {job_id} failed, so there is nothing to retry", code="nothing_failed"
        )
    if len(job.retries) >= MOST_RETRIES:
        raise Conflict(
            f"job {job_id} was retried {len(job.retries):,} times; retry {job.retries[0]}",
            code="too_many_retries",
        )
    prep = services.store.prep(job_id)
    change = Change(templated="template" in prep, retries=True)
    failed = drafts_again(services, job, prep, Choice(FAILED.states, errors), change)
    message = f"what failed of job {job_id} was refused, and would be again"
    drafts = _some(failed, Conflict(message, code="nothing_failed"))
    return submit_job(services, tenant, _as_it_was(services, job, prep), drafts, origin)


def rerun_job(
    services: Services,
    job_id: str,
    tenant: str,
    wanted: RerunRequest,
    idempotency_key: str | None = None,
) -> JobView:
    """Make a new job of items of this one, with all that belongs to them, as `wanted`.

    Raises:
        InvalidRequest: some of them cannot run so: all is checked as if it was new.
        Conflict: the job is not over, or no item is as wanted.
        NotFound: there is no such model or preset.
    """
    asked = wanted.model_dump(mode="json", exclude_unset=True)
    origin = Origin.rerun(job_id, asked, idempotency_key)
    if before := replayed(services, tenant, origin):
        return before
    job = services.store.job(job_id, tenant)
    if wanted.rows in ("failed", "unfinished"):
        _refuse_unfinished(job, f"run what is {wanted.rows} again when it is")
    prep = services.store.prep(job_id)
    as_it_was = _as_it_was(services, job, prep, wanted.model)
    choice = Choice(ROWS[wanted.rows], frozenset(wanted.errors))
    wanted, added = _apart(services, job, prep, choice, wanted)
    options = _changed(services, tenant, as_it_was, wanted)
    card = services.models.choose(options.model).card
    change = Change(
        templated=options.template is not None,
        is_new_template=options.template != as_it_was.template,
        overridden=_overridden(wanted, added),
        other_tokenizer=None if _same_tokenizer(services, job, card) else card.id,
        added=added,
    )
    found = drafts_again(services, job, prep, choice, change)
    nothing = Conflict(
        f"job {job_id} has no such items, so there is nothing to run again",
        code="nothing_to_rerun",
    )
    return submit_job(services, tenant, options, _some(found, nothing), origin)


def _apart(
    services: Services, job: Job, prep: JobPrep, choice: Choice, wanted: RerunRequest
) -> tuple[RerunRequest, ItemParams | None]:
    """The request without those of its parameters that some items cannot have, because their texts
    are scored, and these for the other items. What no item can have stays, to be refused."""
    given = wanted.params.model_dump(mode="json", exclude_unset=True)
    names = kept_apart(prep, set(given))
    if not names:
        return wanted, None
    output = given.get("output", job.spec["params"].get("output"))
    added = ItemParams({name: given[name] for name in given if name in names}, output)
    change = Change(overridden=_overridden(wanted, None))
    left = set(names)
    for draft in drafts_again(services, job, prep, choice, change):
        left -= added.of(draft.value).keys()
        if not left:
            break
    added = ItemParams({k: v for k, v in added.params.items() if k not in left}, output)
    params = {name: given[name] for name in given if name not in added.params}
    rest = SamplingParams.model_validate(params)
    return wanted.model_copy(update={"params": rest}), added


def _overridden(wanted: RerunRequest, added: ItemParams | None) -> set[str]:
    """The parameters that items lose."""
    if not wanted.override_items:
        return set()
    return set(wanted.params.model_fields_set) | set(added.params if added else ())


def replayed(services: Services, tenant: str, origin: Origin) -> JobView | None:
    """The job that the idempotency key has made of the same request, whatever became of what it
    named: the first job, its items, a preset. None where it has made none."""
    check_key(origin.idempotency_key)
    found = (
        services.store.made_with(tenant, origin.idempotency_key) if origin.idempotency_key else None
    )
    if found is None:
        return None
    if found.fingerprint != sent_fingerprint(origin.sent or {}):
        raise key_reused("job")
    view = job_view(services, found.made, tenant)
    view._replayed = True
    return view


def _refuse_unfinished(job: Job, hint: str) -> None:
    if not job.status.terminal:
        raise Conflict(f"job {job.id} is not over yet; {hint}", code="job_not_over")


def _some(drafts: Iterator[Draft], nothing: Conflict) -> Iterator[Draft]:
    first = next(drafts, None)
    if first is None:
        raise nothing
    return chain([first], drafts)


def _as_it_was(services: Services, job: Job, prep: JobPrep, model: str | None = None) -> JobOptions:
    """The job's options. Of what the model's card had given, nothing is kept for another model,
    which has its own defaults, and nothing that the engine of this one has no more."""
    name = services.models.served_name(model or job.model)
    defaulted = job.spec.get("defaulted", ())
    if name == job.model:
        missing = lacked(services.models.choose(name).card.params)
        defaulted = [each for each in defaulted if each in missing]
    return _without(options_of(job.spec, prep), defaulted)


def _without(options: JobOptions, names: Collection[str]) -> JobOptions:
    """The options without these parameters."""
    given = options.params.model_dump(mode="json", exclude_unset=True)
    params = SamplingParams.model_validate({k: v for k, v in given.items() if k not in names})
    return options.model_copy(update={"params": params})


def _changed(
    services: Services, tenant: str, before: JobOptions, wanted: RerunRequest
) -> JobOptions:
    """The job's options, with what the preset says over them, and over that what is wanted."""
    given = wanted.model_dump(exclude_unset=True, include=OVER)
    over = resolve_preset(services, tenant, JobOptions.model_validate(given))
    params = before.params.model_dump(exclude_unset=True) | over.params.model_dump(
        exclude_unset=True
    )
    changes = {
        name: getattr(over, name)
        for name in (*REPLACED, "preset", "evaluate")
        if name in over.model_fields_set
    }
    if wanted.model is not None:
        changes["model"] = wanted.model
    return before.model_copy(update={"params": SamplingParams.model_validate(params), **changes})


def _same_tokenizer(services: Services, job: Job, card: ModelCard) -> bool:
    """Whether token ids of the job mean the same to a model."""
    if job.digest == card.digest:
        return True
    before = services.fleet.tokenizer(job.digest)
    return bool(before) and before == services.fleet.tokenizer(card.digest)
