"""The page of a job, and the buttons that cancel, pause, resume and retry it.

Each view calls the same functions as the API. The pages work without scripts; scripts only refresh
them while a job runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import redirect, render_template, request, url_for

from common.errors import NotFound
from common.store.evaluations import Evaluation
from common.store.outbox import HookState
from web.intake.validation_messages import validated
from web.jobs.actions import cancel_job, set_paused
from web.jobs.again import rerun_job, retry_job
from web.jobs.judges import verdicts
from web.jobs.pace import Pace, pace
from web.jobs.summary import error_groups
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.commands import Commands, commands
from web.pages.evaluation_part import EvaluationPart, evaluation_part
from web.pages.item_table import ORDERS, ItemTable, item_table
from web.pages.job_evaluations import SCORE_ORDERS, job_evaluations
from web.schemas.answers import JobView
from web.schemas.overviews import ErrorGroups
from web.schemas.rerun import RerunRequest
from web.schemas.verdicts import VerdictPage, VerdictTotals
from web.services.services import services
from web.services.worker_hint import WorkerHint, worker_hint
from web.wire.links import base_url

MOST_FAILURES = 1000  # that are read at once for their groups; more only when asked for
MOST_GROUPS = 50  # of them, whose items are looked at
FEW = 3  # items that the curl command of the job page may contain
# A cursor behind every result: the stream sends only changes of the job, and the script fetches
# the page again.
NO_RESULTS = 999_999_999


@dataclass(frozen=True)
class JobContext:
    """What the templates of a job need."""

    job: JobView
    settled: bool  # the job is over and evaluated, and its webhooks are delivered, or given up
    events: str  # URL of the event stream
    table: ItemTable
    evaluations: Sequence[Evaluation]  # all, newest first
    evaluation: EvaluationPart | None  # the one whose scores are shown
    verdicts: VerdictTotals | None  # what a judge found so far
    has_json: bool  # texts are JSON, whose fields can be columns of a download
    orders: dict[str, str]
    failures: ErrorGroups | None  # None where nothing failed, or they are not read yet
    refused: frozenset[str]  # codes of failures that no retry can change
    pace: Pace
    token: str
    commands: Commands
    worker_hint: WorkerHint | None  # of a job that waits for a worker


@pages.get("/jobs/<job_id>")
@logged_in
def job(tenant: str, job_id: str) -> str:
    return render_template("job.html", tenant=tenant, **vars(_job_context(tenant, job_id)))


@pages.get("/jobs/<job_id>/trial")
@logged_in
def trial(tenant: str, job_id: str) -> str:
    """The results of a trial, which form.js puts below the form."""
    return render_template("_trial.html", bare=True, **vars(_job_context(tenant, job_id)))


@pages.get("/jobs/<job_id>/go")
@logged_in
def go(tenant: str, job_id: str) -> Any:
    """To the page of the item whose number was typed."""
    typed = request.args.get("item", "").strip().lstrip("#").replace(",", "")
    total = job_view(services(), job_id, tenant).counts.total
    if not typed:
        return _to_job(job_id)
    if not typed.isdecimal() or len(typed) > 9 or int(typed) >= total:
        raise NotFound(f"{job_id} has no item {typed[:20]}: its items are 0 to {total - 1:,}")
    return redirect(url_for("pages.item", job_id=job_id, index=int(typed)), 303)


@pages.get("/jobs/<job_id>/cancel")
@logged_in
def confirm_cancel(tenant: str, job_id: str) -> Any:
    """Asks whether to cancel, with what would be lost."""
    job = job_view(services(), job_id, tenant)
    if job.status.terminal:
        return _to_job(job_id)
    return render_template("cancel.html", tenant=tenant, job=job)


@pages.post("/jobs/<job_id>/cancel")
@logged_in
def cancel(tenant: str, job_id: str) -> Any:
    cancel_job(services(), job_id, tenant)
    return _to_job(job_id)


@pages.post("/jobs/<job_id>/pause")
@logged_in
def pause(tenant: str, job_id: str) -> Any:
    set_paused(services(), job_id, tenant, True)
    return _to_job(job_id)


@pages.post("/jobs/<job_id>/resume")
@logged_in
def resume(tenant: str, job_id: str) -> Any:
    set_paused(services(), job_id, tenant, False)
    return _to_job(job_id)


@pages.post("/jobs/<job_id>/retry")
@logged_in
def retry(tenant: str, job_id: str) -> Any:
    """Of all that failed, or of one error. Redirects to the new job."""
    errors = frozenset(request.form.getlist("error")[:1])
    key = _key(f"retry:{''.join(errors)[:64]}")
    return _to_job(retry_job(services(), job_id, tenant, key, errors).id)


@pages.post("/jobs/<job_id>/rerun")
@logged_in
def rerun(tenant: str, job_id: str) -> Any:
    """What is left of a job that was stopped, or all of it, as a new job."""
    wanted = validated(RerunRequest, {"rows": request.form.get("rows", "all")})
    return _to_job(rerun_job(services(), job_id, tenant, wanted, _key(f"rerun:{wanted.rows}")).id)


def _key(action: str) -> str | None:
    """The idempotency key of a press of a button: two presses of it are one."""
    token = request.form.get("token", "")[:64]
    return f"{action}:{token}" if token else None


def _to_job(job_id: str) -> Any:
    return redirect(url_for("pages.job", job_id=job_id), 303)


def _failures(tenant: str, job: JobView) -> ErrorGroups | None:
    failed = job.counts.failed
    if not failed or (failed > MOST_FAILURES and "failures" not in request.args):
        return None
    return error_groups(services(), job.id, tenant)


def _refused(job: JobView, failures: ErrorGroups | None) -> frozenset[str]:
    """The codes of those errors that items had before they ran: a retry leaves such items out. The
    first item of each group is looked at."""
    kinds: dict[str, bool] = {}
    for group in (failures.data if failures else [])[:MOST_GROUPS]:
        items = services().store.items(job.id, group.first[0], 1) if group.first else []
        kinds[group.code] = kinds.get(group.code, True) and any("refused" in item for item in items)
    return frozenset(code for code, refused in kinds.items() if refused)


def _found(tenant: str, job: JobView) -> VerdictTotals | None:
    if job.judge is None or not job.counts.total:
        return None
    return verdicts(services(), job.id, tenant, VerdictPage(limit=1)).totals


def _job_context(tenant: str, job_id: str) -> JobContext:
    job = job_view(services(), job_id, tenant)
    judged = job_evaluations(services(), job_id, request.args)
    table = item_table(services(), tenant, job, request.args, judged)
    delivered = all(hook.status != HookState.PENDING for hook in job.webhooks)
    failures = _failures(tenant, job)
    refused = _refused(job, failures)
    prep = services().store.prep(job_id)
    few_rows = table.rows if job.counts.total <= FEW and not table.chosen else []
    return JobContext(
        job=job,
        settled=job.status.terminal and delivered and not judged.busy,
        events=url_for("api.events", job_id=job_id, after=NO_RESULTS),
        table=table,
        evaluations=judged.every,
        evaluation=evaluation_part(judged.shown) if judged.shown else None,
        verdicts=_found(tenant, job),
        has_json="json_output" in prep,
        orders=ORDERS | (SCORE_ORDERS if judged.scored_by else {}),
        failures=failures,
        refused=refused,
        pace=pace(services(), services().store.job(job_id, tenant)),
        token=secrets.token_hex(16),
        commands=commands(job, prep, few_rows, base_url(services()), bool(job.bad_rows or refused)),
        worker_hint=worker_hint(services(), job.model) if job.waiting_for == "worker" else None,
    )
