"""The list of studies, the form that makes one, and the page of one: its raters, and what their
votes amount to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import Conflict, InvalidRequest, NotFound, PromptmillError
from common.store.labels import LONGEST_LABEL
from web.intake.validation_messages import validated
from web.jobs.studies import add_rater, create_study, study_list, study_view
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.form_token import key_of, new_token, once
from web.schemas.studies import (
    MOST_JOBS,
    SCALE,
    CriterionResults,
    PairScore,
    ScaleScore,
    StudyDetail,
    StudyPage,
    StudyRequest,
    StudyView,
)
from web.services.services import services

STUDIES = 25  # on one page of their list
FIELDS = ("jobs", "kind", "criteria", "sample", "raters")
SEPARATORS = re.compile(r"[,;\n]")
START = {"kind": "pairs", "criteria": "fluency, relevance", "sample": "200", "raters": "2"}


@dataclass(frozen=True)
class Mark:
    """Where a job's number and its interval are drawn, in percent of the width; `low` and `wide`
    are None where there is no interval."""

    at: float
    low: float | None
    wide: float | None


@dataclass(frozen=True)
class Line:
    """A job in the results of a criterion."""

    name: str
    score: PairScore | ScaleScore
    mark: Mark | None


@dataclass(frozen=True)
class Shown:
    """The results of a criterion; `zero` is where 0 is drawn."""

    criterion: str
    results: CriterionResults
    lines: Sequence[Line]
    zero: float | None


@dataclass(frozen=True)
class Form:
    """What was typed, and what is wrong with it, by field."""

    typed: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)


@pages.get("/studies")
@logged_in
def list_studies(tenant: str) -> str:
    after = request.args.get("after") or None
    wanted = validated(StudyPage, {"after": after, "limit": STUDIES})
    found = study_list(services(), tenant, wanted.after, wanted.limit)
    return render_template(
        "studies.html",
        tenant=tenant,
        studies=[(each, " · ".join(_names(each))) for each in found.data],
        after=after,
        next_after=found.after if found.has_more else None,
    )


@pages.get("/studies/new")
@logged_in
def new_study(tenant: str) -> Response:
    jobs = request.args.getlist("job")[:MOST_JOBS]
    return _form(tenant, Form({**START, "jobs": ", ".join(jobs)}))


@pages.post("/studies")
@logged_in
def make_study(tenant: str) -> Any:
    typed = {name: request.form.get(name, "").strip() for name in FIELDS}
    try:
        wanted, key = validated(StudyRequest, _asked(typed)), key_of(request.form)
        made = once(key, lambda key: create_study(services(), tenant, wanted, key))[0]
    except PromptmillError as error:
        if error.status >= 500:
            raise
        return _form(tenant, Form(typed, _errors(error)), error.status)
    return redirect(url_for("pages.study", study_id=made.id), 303)


@pages.get("/studies/<study_id>")
@logged_in
def study(tenant: str, study_id: str) -> Response:
    return _study(tenant, study_id)


@pages.post("/studies/<study_id>/raters")
@logged_in
def make_rater(tenant: str, study_id: str) -> Response:
    """Shows the new link, once."""
    try:
        made = add_rater(services(), study_id, tenant, request.form.get("name", ""))
    except (InvalidRequest, Conflict) as error:
        return _study(tenant, study_id, error=error.message, status=error.status)
    return _study(tenant, study_id, link=made.url, status=201)


@pages.post("/studies/<study_id>/raters/<rater_id>/revoke")
@logged_in
def end_rater(tenant: str, study_id: str, rater_id: str) -> Any:
    services().raters.revoke(study_id, tenant, rater_id)
    return redirect(url_for("pages.study", study_id=study_id), 303)


@pages.post("/studies/<study_id>/delete")
@logged_in
def delete_study(tenant: str, study_id: str) -> Any:
    services().studies.delete(study_id, tenant)
    return redirect(url_for("pages.list_studies"), 303)


def _asked(typed: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: typed[name] for name in ("sample", "raters") if typed[name]}
    return {
        "jobs": re.split(r"[\s,;]+", typed["jobs"]) if typed["jobs"] else [],
        "kind": typed["kind"],
        "criteria": [name.strip() for name in SEPARATORS.split(typed["criteria"]) if name.strip()],
        **{name: int(text) if text.isdecimal() else text for name, text in numbers.items()},
    }


def _errors(error: PromptmillError) -> dict[str, list[str]]:
    """Messages by the field that they belong to; "" for the form as a whole."""
    found: dict[str, list[str]] = {}
    listed = error.errors if isinstance(error, InvalidRequest) else [error.as_dict()]
    for each in listed or [error.as_dict()]:
        name = each.get("field", "").split(".")[0]
        found.setdefault(name if name in FIELDS else "", []).append(each["message"])
    if isinstance(error, NotFound):
        found = {"jobs": [error.message]}
    return found


def _form(tenant: str, form: Form, status: int = 200) -> Response:
    names = {}
    for job_id in _asked({**START, **form.typed})["jobs"][:MOST_JOBS]:
        try:
            names[job_id] = job_view(services(), job_id, tenant, whole=False)
        except NotFound:
            continue
    page = render_template(
        "study_form.html", tenant=tenant, form=form, jobs=names, token=new_token()
    )
    return make_response(page, status)


def _study(
    tenant: str, study_id: str, *, link: str = "", error: str = "", status: int = 200
) -> Response:
    found = study_view(services(), study_id, tenant)
    page = render_template(
        "study.html",
        tenant=tenant,
        study=found,
        names=_names(found),
        results=[_shown(found, name) for name in found.criteria],
        new_link=link,
        error=error,
        longest=LONGEST_LABEL,
        typed=request.form.get("name", "") if error else "",
    )
    response = make_response(page, status)
    response.headers["Cache-Control"] = "no-store"  # it may show a link's secret
    return response


def _shown(study: StudyDetail, criterion: str) -> Shown:
    results = study.results[criterion]
    scores: Sequence[PairScore | ScaleScore] = [*results.jobs]
    values = [_value(score) for score in scores]
    ends = [end for score in scores for end in (score.low, score.high) if end is not None]
    if study.kind == "scale":
        least, most = 1.0, float(SCALE)
    else:
        most = max(1.0, *(abs(end) for end in (*ends, *(each or 0.0 for each in values))))
        least = -most

    def place(value: float) -> float:
        return round(100 * (value - least) / (most - least), 2)

    lines = []
    for name, score, value in zip(_names(study), scores, values, strict=True):
        mark = None
        if value is not None and results.votes:
            low = place(score.low) if score.low is not None else None
            wide = place(score.high) - low if score.high is not None and low is not None else None
            mark = Mark(place(value), low, wide)
        lines.append(Line(name, score, mark))
    return Shown(criterion, results, lines, place(0.0) if study.kind == "pairs" else None)


def _names(study: StudyView) -> list[str]:
    """What its jobs are called: by their ids, too, where two have the same name."""
    names = [job.name or job.id for job in study.jobs]
    return [
        name if names.count(name) == 1 else f"{name} ({job.id})"
        for name, job in zip(names, study.jobs, strict=True)
    ]


def _value(score: PairScore | ScaleScore) -> float | None:
    return score.strength if isinstance(score, PairScore) else score.mean
