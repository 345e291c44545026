"""The pages: a form to submit, jobs that fill in, the fleet. Server-rendered; scripts only make
them quicker.

Everything goes through the same functions as the API. A page says `default-src 'self'`: no inline
script or style ever runs, so what a prompt or a model says cannot, should it ever get past the
templates' escaping.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from common.errors import NotFound, Unauthorized
from common.store.outbox import HookState
from web import auth
from web.jobs.actions import retry_job, set_paused
from web.jobs.views import (
    base_url,
    cancel_job,
    item_rows,
    job_list,
    job_view,
    model_list,
    worker_views,
)
from web.pages import forms, job_page
from web.pages.errors import PageShape, show_to_browsers, wants_json
from web.pages.filters import FILTERS, time_range
from web.pages.submission import Submission
from web.schemas.answers import ModelView
from web.services.services import services
from web.wire.bodies import MOST_JSON
from web.wire.error_answers import answer_errors, rewrite_errors

JOBS = 25  # a page of the list
FEW = 3  # items that the curl line still holds
TRIAL = 3  # prompts of a try
# A cursor behind every result: the page hears of changes and fetches what it shows.
NO_RESULTS = 999_999_999
CONTENT_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors "
    "'none'; object-src 'none'"
)

pages = Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
answer_errors(pages, PageShape(), "/")
rewrite_errors(pages, show_to_browsers)


@pages.record_once
def _add_filters(state: Any) -> None:
    state.app.jinja_env.filters.update(FILTERS)
    state.app.jinja_env.trim_blocks = state.app.jinja_env.lstrip_blocks = True


@pages.after_app_request
def _finish(response: Response) -> Response:
    """Every page has its policy."""
    if response.mimetype == "text/html":
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response


def logged_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view gets `tenant` first; whoever is not logged in sees how to."""

    @wraps(view)
    def guarded(**arguments: Any) -> Any:
        tenant = auth.browser_tenant()
        return view(tenant, **arguments) if tenant else (render_template("login.html"), 401)

    return guarded


@pages.get("/")
@logged_in
def submit_form(tenant: str) -> str:
    """The form, empty or filled in like another job (`?like=`)."""
    typed: dict[str, str] = {}
    if like := request.args.get("like"):
        job = job_view(services(), like, tenant)
        rows = item_rows(services(), like, tenant, 0, forms.MOST_REFILLED + 1)
        typed = forms.refill(job.model, job.params, job.metadata, rows)
    return _form(tenant, typed, {})


@pages.post("/")
@logged_in
def submit(tenant: str) -> Any:
    """Submit all, try the first few, or only check; answers a page, or JSON for form.js."""
    request.max_form_memory_size = MOST_JSON
    submission = Submission(request.form, request.files.get("file"))
    if request.form.get("action") == "check":
        return _checked(submission, tenant)
    first = TRIAL if request.form.get("action") == "try" else None
    job = submission.submit(services(), tenant, first)
    if job is None:
        if wants_json():
            return {"errors": submission.errors.by_field}, 422
        return _form(tenant, submission.typed, submission.errors.by_field), 422
    return ({"url": url_for("pages.job", job_id=job.id)}, 201) if wants_json() else _to_job(job.id)


def _form(tenant: str, typed: Any, errors: dict[str, list[str]]) -> str:
    settings = forms.settings()
    return render_template(
        "submit.html",
        tenant=tenant,
        typed=typed,
        errors=errors,
        settings=settings,
        more_open=any(typed.get(setting.input) for setting in settings if not setting.common),
        models=_models(),
        token=secrets.token_hex(16),
    )


def _checked(submission: Submission, tenant: str) -> dict[str, Any]:
    view = submission.check(services(), tenant)
    summary = ""
    if view and view.items:
        tokens = "" if view.prompt_tokens is None else f" · {view.prompt_tokens:,} prompt tokens"
        most = f" · at most {view.max_completion_tokens:,} to generate" if view.valid else ""
        time = f" · {time_range(view.seconds)}" if view.valid and view.seconds else ""
        summary = f"{view.items:,} prompt{'s' if view.items != 1 else ''}{tokens}{most}{time}"
    return {"errors": submission.errors.by_field, "summary": summary}


def _models() -> list[ModelView]:
    """Every model ever served, live ones first."""
    models = [model for model in model_list(services()).data if model.alias_of is None]
    return sorted(models, key=lambda model: not model.workers)


@pages.get("/jobs")
@logged_in
def list_jobs(tenant: str) -> str:
    after = request.args.get("after")
    found = job_list(services(), tenant, after, JOBS)
    busy = any(not job.status.terminal for job in found.data)
    following = found.after if found.has_more else None
    return render_template(
        "jobs.html",
        tenant=tenant,
        jobs=found.data,
        after=after,
        next_after=following,
        busy=busy,
        stored=services().store.stored(tenant),
        most_stored=services().settings.max_stored_bytes,
    )


@pages.get("/jobs/<job_id>")
@logged_in
def job(tenant: str, job_id: str) -> str:
    return render_template("job.html", tenant=tenant, **_job_context(tenant, job_id))


@pages.get("/jobs/<job_id>/trial")
@logged_in
def trial(tenant: str, job_id: str) -> str:
    """A trial's panel, for form.js."""
    return render_template("_trial.html", bare=True, **_job_context(tenant, job_id))


def _job_context(tenant: str, job_id: str) -> dict[str, Any]:
    job = job_view(services(), job_id, tenant)
    page = job_page.page(request.args.get("page", 1, int), job.counts.total)
    rows = item_rows(services(), job_id, tenant, page.first, page.end - page.first)
    return {
        "job": job,
        "settled": job.status.terminal
        and all(hook.status != HookState.PENDING for hook in job.webhooks),
        "events": url_for("api.events", job_id=job_id, after=NO_RESULTS),
        "rows": rows,
        "page": page,
        "pace": job_page.pace(job, datetime.fromtimestamp(services().store.now() / 1000, UTC)),
        "token": secrets.token_hex(16),
        "commands": job_page.commands(
            job, rows if job.counts.total <= FEW else [], base_url(services())
        ),
    }


@pages.get("/jobs/<job_id>/items/<int:index>")
@logged_in
def item(tenant: str, job_id: str, index: int) -> str:
    """One item in full."""
    job = job_view(services(), job_id, tenant)
    rows = item_rows(services(), job_id, tenant, index, 1) if index < job.counts.total else []
    if not rows:
        raise NotFound(f"{job_id} has no item {index}")
    return render_template("item.html", tenant=tenant, job=job, row=rows[0])


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
    """Goes to the new job. The form's token makes pressing twice one."""
    token = request.form.get("token", "")[:64]
    made = retry_job(services(), job_id, tenant, f"retry:{token}" if token else None)
    return _to_job(made.id)


def _to_job(job_id: str) -> Any:
    return redirect(url_for("pages.job", job_id=job_id), 303)


@pages.get("/workers")
@logged_in
def fleet(tenant: str) -> str:
    return render_template(
        "workers.html", tenant=tenant, workers=worker_views(services()), models=_models()
    )


@pages.get("/login")
def login_page() -> Response:
    """Opening a login link uses nothing up: a chat's preview of it must not. The button does."""
    return _login_page(token=request.args.get("token"))


@pages.post("/login")
def log_in() -> Any:
    auth.refuse_cross_site()
    response = make_response(redirect(url_for("pages.submit_form"), 303))
    try:
        return auth.start_session(response, request.form.get("token", ""))
    except Unauthorized as error:
        return _login_page(message=error.message, status=401)


@pages.post("/logout")
def log_out() -> Any:
    auth.refuse_cross_site()
    response = make_response(redirect(url_for("pages.login_page"), 303))
    response.headers["Clear-Site-Data"] = '"cache"'  # nor does the button Back show anything more
    return auth.end_session(response, everywhere="everywhere" in request.form)


def _login_page(
    token: str | None = None, message: str | None = None, status: int = 200
) -> Response:
    response = make_response(render_template("login.html", token=token, message=message), status)
    # The address holds the token. Not `no-referrer`: the button's POST would then come from an
    # origin called `null`.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["Cache-Control"] = "no-store"
    return response
