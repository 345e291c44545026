"""The list of jobs: found by name, state and model, and changed one by one or several at once."""

from __future__ import annotations

from typing import Any

from flask import redirect, render_template, request, url_for

from common.errors import Conflict, InvalidRequest, NotFound
from web.intake.validation_messages import validated
from web.jobs.actions import cancel_job, delete_job, set_paused
from web.jobs.changes import edit_job
from web.jobs.job_list import job_list
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.workers import known_models
from web.schemas.answers import JobView
from web.schemas.queries import JobPage
from web.schemas.requests import JobEdit
from web.services.services import Services, services

JOBS = 25  # jobs on one page of the list
CHOICES = ("search", "status", "model", "sweep", "order")
ORDERS = {
    "": "Newest first",
    "created": "Oldest first",
    "name": "Name",
    "status": "State",
    "-duration": "Ran longest",
    "duration": "Ran shortest",
    "-items": "Most items",
    "items": "Fewest items",
}
STATES = ("queued", "running", "paused", "completed", "failed", "cancelled", "expired")
ACTIONS = ("compare", "pause", "resume", "cancel", "study", "delete")


@pages.get("/jobs")
@logged_in
def list_jobs(tenant: str) -> str:
    chosen = {name: request.args[name] for name in CHOICES if request.args.get(name)}
    after = request.args.get("after") or None
    found = job_list(
        services(), tenant, validated(JobPage, {**chosen, "after": after, "limit": JOBS})
    )
    return render_template(
        "jobs.html",
        tenant=tenant,
        jobs=found.data,
        chosen=chosen,
        states=STATES,
        orders=ORDERS,
        models=[model.id for model in known_models()],
        after=after,
        next_after=found.after if found.has_more else None,
        searched=found.searched,
        sorted=found.sorted,
        busy=any(not job.status.terminal for job in found.data),
        stored=services().admission.stored(tenant),
        most_stored=services().settings.max_stored_bytes,
    )


@pages.post("/jobs/<job_id>/rename")
@logged_in
def rename(tenant: str, job_id: str) -> Any:
    """Gives a job another name, or none; whatever else was noted of it stays."""
    metadata = dict(job_view(services(), job_id, tenant, whole=False).metadata)
    name = request.form.get("name", "").strip()
    metadata.pop("name", None)
    edit_job(
        services(),
        job_id,
        tenant,
        validated(JobEdit, {"metadata": {**({"name": name} if name else {}), **metadata}}),
    )
    return redirect(url_for("pages.job", job_id=job_id), 303)


@pages.post("/jobs")
@logged_in
def change_selected(tenant: str) -> Any:
    """Does one thing to all jobs that were ticked; asks first where something would be lost."""
    action, ids = request.form.get("action", ""), request.form.getlist("job")[:JOBS]
    if action not in ACTIONS:
        raise InvalidRequest(f"action must be one of {', '.join(ACTIONS)}", field="action")
    back = url_for("pages.list_jobs")
    if not ids:
        return redirect(back, 303)
    if action == "compare":
        # The list has the newest first; what is compared with is rather the oldest.
        return redirect(url_for("pages.compare", job=ids[::-1]), 303)
    if action == "study":
        return redirect(url_for("pages.new_study", job=ids[::-1]), 303)
    if action in ("cancel", "delete") and request.form.get("sure") != "yes":
        jobs = [job for job_id in ids if (job := _found(tenant, job_id))]
        return render_template("selected.html", tenant=tenant, action=action, jobs=jobs)
    for job_id in ids:
        _do(services(), action, job_id, tenant)
    return redirect(back, 303)


def _found(tenant: str, job_id: str) -> JobView | None:
    """None where it was deleted meanwhile."""
    try:
        return job_view(services(), job_id, tenant, whole=False)
    except NotFound:
        return None


def _do(services: Services, action: str, job_id: str, tenant: str) -> None:
    """What came too late, because the job is over or gone, is no error: others were ticked, too."""
    try:
        if action == "delete":
            delete_job(services, job_id, tenant)
        elif action == "cancel":
            cancel_job(services, job_id, tenant)
        else:
            set_paused(services, job_id, tenant, action == "pause")
    except (Conflict, NotFound):
        return
