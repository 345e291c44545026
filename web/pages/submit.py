"""The page with the submit form: shown empty or filled in, submitted, tried, or only checked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypedDict

from flask import redirect, render_template, request, url_for

from web.jobs.item_views import item_rows
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.errors import wants_json
from web.pages.filters import time_range
from web.pages.param_fields import param_fields
from web.pages.refill import MOST_REFILLED, refill
from web.pages.submission import Submission
from web.pages.workers import known_models
from web.schemas.answers import CheckView
from web.services.services import services
from web.wire.bodies import MOST_JSON

TRIAL = 3  # prompts of a trial


class FormCheck(TypedDict):
    """What form.js shows while somebody types: messages by input name, and what a submit would
    come to."""

    errors: dict[str, list[str]]
    summary: str


@pages.get("/")
@logged_in
def submit_form(tenant: str) -> str:
    """The form, empty or filled in like another job (`?like=`)."""
    typed: dict[str, str] = {}
    if like := request.args.get("like"):
        job = job_view(services(), like, tenant)
        rows = item_rows(services(), like, tenant, 0, MOST_REFILLED + 1)
        typed = refill(job.model, job.params, job.metadata, rows)
    return _form(tenant, typed, {})


@pages.post("/")
@logged_in
def submit(tenant: str) -> Any:
    """Submits all prompts, or the first few as a trial, or only checks; answers a page, or JSON to
    form.js."""
    request.max_form_memory_size = MOST_JSON
    submission = Submission(request.form, request.files.get("file"))
    if request.form.get("action") == "check":
        return _check(submission, tenant)
    first = TRIAL if request.form.get("action") == "try" else None
    job = submission.submit(services(), tenant, first)
    if job is None:
        if wants_json():
            return {"errors": submission.errors.by_field}, 422
        return _form(tenant, submission.typed, submission.errors.by_field), 422
    url = url_for("pages.job", job_id=job.id)
    return ({"url": url}, 201) if wants_json() else redirect(url, 303)


def _form(tenant: str, typed: Mapping[str, str], errors: dict[str, list[str]]) -> str:
    fields = param_fields()
    return render_template(
        "submit.html",
        tenant=tenant,
        typed=typed,
        errors=errors,
        fields=fields,
        more_open=any(typed.get(field.input) for field in fields if not field.common),
        models=known_models(),
        token=secrets.token_hex(16),
    )


def _check(submission: Submission, tenant: str) -> FormCheck:
    view = submission.check(services(), tenant)
    return {"errors": submission.errors.by_field, "summary": _summary(view) if view else ""}


def _summary(view: CheckView) -> str:
    """The size of the job in words; nothing where there is no prompt."""
    if not view.items:
        return ""
    parts = [f"{view.items:,} prompt{'s' if view.items != 1 else ''}"]
    if view.prompt_tokens is not None:
        parts.append(f"{view.prompt_tokens:,} prompt tokens")
    if view.valid:
        parts.append(f"at most {view.max_completion_tokens:,} to generate")
    if view.valid and view.seconds:
        parts.append(time_range(view.seconds))
    return " · ".join(parts)
