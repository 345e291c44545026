"""The page with the submit form: each of its buttons is a step, and each step answers the page.

What was typed is kept as a draft in the store, and a file is stored once: the address of the page
says which draft and which step it shows, so that it can be loaded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypedDict

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import InvalidRequest, NotFound, TooLarge
from common.store.form_drafts import Saved
from web.intake.input_file import INPUT_AGE, PURPOSE, input_file, keep_file
from web.pages.ask_or_continue import with_default_reading
from web.pages.blueprint import logged_in, pages
from web.pages.errors import wants_json
from web.pages.form import BACK, INSERT, KEPT, PASSING, FormErrors
from web.pages.presets import fill_in
from web.pages.refill import typed_like
from web.pages.submission import Submission
from web.pages.submit_page import STEPS, SubmitPage, make_page, next_step, summary
from web.pages.suggestion import suggest
from web.services.services import services
from web.wire.bodies import MOST_JSON

TRIAL = 3  # prompts of a trial
MOST_OUTPUT = 2**21  # bytes of a form's parameters


class FormCheck(TypedDict):
    """What form.js shows while somebody types: messages by input name, what a submit would come to,
    and the draft that holds what was typed, in its version; `apart` if it is another now."""

    errors: dict[str, list[str]]
    summary: str
    draft: str
    seen: str
    apart: bool


class OutputCheck(TypedDict):
    """What is wrong with the output format: messages by input name."""

    errors: dict[str, list[str]]


@pages.get("/")
@logged_in
def submit_form(tenant: str) -> Any:
    """The form: empty, filled in like another job (`?like=`), or as a draft holds it (`?draft=`)
    after a step (`&step=`)."""
    draft, like, step = (request.args.get(name, "") for name in ("draft", "like", "step"))
    if draft:
        try:
            found = services().form_drafts.get(tenant, draft)
        except NotFound as gone:
            return _page(
                tenant, {}, errors={"": [f"{gone.message[:1].upper()}{gone.message[1:]}."]}
            )
        return _page(tenant, {**found.typed, "draft": draft, "seen": found.version}, step)
    return _page(tenant, typed_like(services(), tenant, like) if like else {})


@pages.post("/")
@logged_in
def submit(tenant: str) -> Any:
    """Does what the button says; answers a page, or JSON to form.js."""
    request.max_form_memory_size = MOST_JSON
    form = request.form.to_dict()  # what is too large to be read is no form to show again
    try:
        typed, changed = _take_file(tenant, with_default_reading(form))
        action = typed.get("action", "submit")
        if action == "next":
            action = next_step(typed, changed)
        if action == "check" and wants_json():
            return _check(tenant, typed)
        if action in STEPS or action in ("preset", "remove", BACK) or action.startswith(INSERT):
            return _step(tenant, typed, action)
    except (InvalidRequest, NotFound) as error:
        return _refused(tenant, form, error)
    return _submit(tenant, typed, TRIAL if action == "try" else None)


@pages.post("/check-output")
@logged_in
def check_output(tenant: str) -> OutputCheck:
    """Whether the output format can be had; form.js asks while somebody types one. Of the form it
    takes the model and the parameters."""
    request.max_form_memory_size = MOST_OUTPUT
    form = {n: t for n, t in request.form.items() if n == "model" or n.startswith("params.")}
    submission = Submission(services(), tenant, form)
    submission.check_output()
    return {"errors": submission.errors.by_field}


def _submit(tenant: str, typed: dict[str, str], first: int | None) -> Any:
    submission = Submission(services(), tenant, typed)
    url = _made(submission, first)
    if url is None:
        if wants_json():
            return {
                "errors": submission.errors.by_field,
                "input_file": typed.get("input_file"),
            }, 422
        return _shown(make_page(services(), tenant, submission)), 422
    return ({"url": url}, 201) if wants_json() else redirect(url, 303)


def _made(submission: Submission, first: int | None) -> str | None:
    """The page of the job or sweep that was made; None if none was."""
    if submission.sweep and first is None:
        sweep = submission.submit_sweep()
        return url_for("pages.sweep", sweep_id=sweep.id) if sweep else None
    job = submission.submit(first)
    return url_for("pages.job", job_id=job.id) if job else None


def _step(tenant: str, typed: dict[str, str], action: str) -> Any:
    """Keeps what was typed, and goes to the page that shows the step."""
    step = action if action in STEPS else typed.get("step", "")
    if action == "preset":
        typed = fill_in(services(), tenant, typed)
    elif action == "remove":
        _forget_file(tenant, typed)
        typed = {name: text for name, text in typed.items() if name not in ("input_file", "like")}
        typed["prompts"] = typed.pop(KEPT, "") or typed.get("prompts", "")
        step = ""
    elif action == BACK:
        step = ""
    elif action.startswith(INSERT):
        named = f"{{{{{action.removeprefix(INSERT)}}}}}"
        typed["template.text"] = typed.get("template.text", "") + named
    kept = _keep(tenant, typed)
    anchor = {"preset": "template", "remove": "data", BACK: "data"}.get(action, step or "template")
    apart = "yes" if kept.apart else None
    url = url_for(
        "pages.submit_form", draft=kept.id, step=step or None, apart=apart, _anchor=anchor
    )
    return redirect(url, 303)


def _keep(tenant: str, typed: Mapping[str, str]) -> Saved:
    kept = {name: text for name, text in typed.items() if name not in PASSING and text}
    if kept.get("input_file") and "prompts" in kept:  # the file is in the place of the text box
        kept[KEPT] = kept.pop("prompts")
    of_page = {"seen": typed.get("seen", ""), "writer": typed.get("token", "")}
    return services().form_drafts.keep(tenant, kept, typed.get("draft", ""), **of_page)


def _take_file(tenant: str, typed: dict[str, str]) -> tuple[dict[str, str], bool]:
    """What was typed, with the uploaded file, if any, stored in place of the one before; and
    whether there was one."""
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        return typed, False
    kept = keep_file(
        services(), tenant, upload.stream, upload.filename, purpose=PURPOSE, ttl=INPUT_AGE
    )
    before = typed.get("input_file")
    _forget_file(tenant, typed)
    # What was found in the file before, and was chosen for it, may mean something else in this one.
    typed = {name: text for name, text in typed.items() if not name.startswith("format.")}
    typed |= {"input_file": kept.id, "like": ""}
    if not before and not typed.get("template.text"):
        typed |= suggest(services(), tenant, kept.id)
    return typed, True


def _forget_file(tenant: str, typed: Mapping[str, str]) -> None:
    """Delete the file that the form held, unless another draft has it, too: it would take room that
    the tenant has for others."""
    file_id = typed.get("input_file")
    drafts = services().form_drafts
    if file_id and not drafts.names_file(tenant, file_id, but=typed.get("draft", "")):
        with suppress(NotFound, InvalidRequest):
            services().files.delete(input_file(services(), tenant, file_id).id, tenant)


def _check(tenant: str, typed: dict[str, str]) -> FormCheck:
    submission = Submission(services(), tenant, typed)
    view = submission.check()
    try:
        kept = _keep(tenant, typed)
    except TooLarge:
        kept = Saved("", "")
    return {
        "errors": submission.errors.by_field,
        "summary": summary(view) if view else "",
        "draft": kept.id,
        "seen": kept.version,
        "apart": kept.apart,
    }


def _refused(tenant: str, typed: dict[str, str], error: InvalidRequest | NotFound) -> Any:
    """What was wrong before the form could be read: its file, or its draft."""
    errors = FormErrors()
    place = "prompts" if error.field == "prompts" else "file" if request.files.get("file") else ""
    errors.add(place, f"{error.message[:1].upper()}{error.message[1:]}.")
    if wants_json():
        return {"errors": errors.by_field}, error.status
    return _page(tenant, typed, errors=errors.by_field), error.status


def _page(
    tenant: str,
    typed: Mapping[str, str],
    step: str = "",
    errors: Mapping[str, list[str]] | None = None,
) -> Response:
    submission = Submission(services(), tenant, typed)
    for name, messages in (errors or {}).items():
        submission.errors.by_field.setdefault(name, []).extend(messages)
    return _shown(make_page(services(), tenant, submission, step if step in STEPS else ""))


def _shown(page: SubmitPage) -> Response:
    """A draft is not stored by browsers: who goes back to a step sees it as it is now."""
    apart = request.args.get("apart") == "yes"
    response = make_response(render_template("submit.html", apart=apart, **vars(page)))
    if "draft" in request.args:
        response.headers["Cache-Control"] = "no-store"
    return response
