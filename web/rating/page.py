"""The page of raters: one task after the other, by keys, touch or mouse, also without scripts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import Conflict, InvalidRequest, NotFound
from common.store.raters import RaterGrant, gone
from common.store.studies import About
from web import auth
from web.rating.blueprint import for_raters, open_link, rating
from web.rating.tasks import keep_answers, next_task
from web.schemas.studies import SCALE, SKIP, PairTask, ScaleTask
from web.services.services import services

# Answer, key, what the button says.
PAIR_CHOICES = (("left", "←", "A"), ("tie", "↓", "Tie"), ("right", "→", "B"), (SKIP, "s", "Skip"))
SCALE_CHOICES = (*((str(n), str(n), str(n)) for n in range(1, SCALE + 1)), (SKIP, "s", "Skip"))


@rating.get("/rate/open")
def opened() -> Response:
    """What a link leads to: a button. Opening it uses nothing up."""
    secret = request.args.get("token", "")
    if services().raters.grant_of_secret(secret) is None:
        raise gone()
    response = make_response(render_template("rate_open.html", token=secret))
    # The address has the secret in it. `no-referrer` would be stricter, but the button's POST would
    # then come from the origin `null`, which `refuse_cross_site` refuses.
    response.headers["Referrer-Policy"] = "strict-origin"
    return response


@rating.post("/rate/open")
def begin() -> Response:
    auth.refuse_cross_site()
    response = make_response(redirect(url_for("rating.page"), 303))
    open_link(response, request.form.get("token", ""))
    return response


@rating.get("/rate")
@for_raters
def page(grant: RaterGrant) -> str:
    about, task = next_task(services(), grant)
    return render_template(
        "rate.html" if isinstance(task, PairTask | ScaleTask) else "rate_done.html",
        task=task,
        choices=PAIR_CHOICES if about.kind == "pairs" else SCALE_CHOICES,
        kind=about.kind,
        late="late" in request.args,
    )


@rating.post("/rate")
@for_raters
def rate_on_page(grant: RaterGrant) -> Any:
    """Keeps the answers of a form, and shows the next task. What came too late is not kept, which
    the next page says."""
    about = services().studies.get(grant.study, grant.tenant).about
    try:
        keep_answers(services(), grant, request.form.get("task", ""), _answers(about))
    except (Conflict, NotFound):
        return redirect(url_for("rating.page", late=1), 303)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error.message}; go back and answer again") from None
    return redirect(url_for("rating.page"), 303)


@rating.post("/rate/undo")
@for_raters
def undo_on_page(grant: RaterGrant) -> Any:
    with suppress(Conflict):  # there is nothing to take back
        services().raters.undo(grant)
    return redirect(url_for("rating.page"), 303)


def _answers(about: About) -> dict[str, str | int]:
    """Those of a form, whose inputs are called by the numbers of the criteria."""
    typed = {
        name: request.form[field]
        for place, name in enumerate(about.criteria)
        if (field := f"c{place}") in request.form
    }
    if about.kind == "pairs":
        return dict(typed)
    return {name: int(text) if text.isdecimal() else text for name, text in typed.items()}
