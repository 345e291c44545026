"""One job for people without an account, who have a link to it: they can read it and nothing else.

The link's secret becomes a cookie for the paths of that job, so that it is in no later address.
"""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import InvalidRequest, NotFound
from common.result_row import InputRow
from web import auth
from web.jobs.item_views import item_rows
from web.jobs.results import MEDIA_TYPES, stream_results
from web.jobs.views import job_view
from web.pages import item_pages
from web.pages.blueprint import pages
from web.pages.evaluation_part import evaluation_part
from web.pages.job_evaluations import job_evaluations, score_columns
from web.schemas.queries import ResultsQuery
from web.services.services import services
from web.wire.bodies import read_query
from web.wire.downloads import disposition, download


@pages.get("/read/<job_id>/open")
def open_shared_job(job_id: str) -> Any:
    """What a link leads to. Opening it uses nothing up."""
    secret = request.args.get("token", "")
    if services().shares.grant_of_share(job_id, secret) is None:
        raise NotFound(
            "this link does not work (any more): ask the person who sent it for a new one"
        )
    response = make_response(redirect(url_for("pages.shared_job", job_id=job_id), 303))
    response.headers["Cache-Control"] = "no-store"
    return auth.open_share(response, job_id, secret)


@pages.get("/read/<job_id>")
def shared_job(job_id: str) -> str:
    tenant = auth.reader_of(job_id)
    job = job_view(services(), job_id, tenant)
    page = item_pages.page(request.args.get("page", 1, int), job.counts.total)
    judged = job_evaluations(services(), job_id, {})
    rows = item_rows(
        services(),
        job_id,
        tenant,
        page.first,
        page.end - page.first,
        evaluation=judged.scores_of,
    )
    return render_template(
        "shared.html",
        job=job,
        rows=rows,
        page=page,
        settled=job.status.terminal and not judged.busy,
        evaluation=evaluation_part(judged.shown, names_jobs=False) if judged.shown else None,
        scores=score_columns(judged),
    )


@pages.get("/read/<job_id>/items/<int:index>")
def shared_item(job_id: str, index: int) -> str:
    """One item in full."""
    tenant = auth.reader_of(job_id)
    job = job_view(services(), job_id, tenant)
    rows: list[InputRow] = []
    judged = job_evaluations(services(), job_id, {})
    if index < job.counts.total:
        rows = item_rows(services(), job_id, tenant, index, 1, evaluation=judged.scores_of)
    if not rows:
        raise NotFound(f"the job has no item {index}")
    return render_template("shared_item.html", job=job, row=rows[0], metrics=judged.scored_by)


@pages.get("/read/<job_id>/results.<any(jsonl, csv, parquet):form>")
def shared_results(job_id: str, form: str) -> Response:
    tenant, wanted = auth.reader_of(job_id), read_query(ResultsQuery)
    if wanted.merge:
        raise InvalidRequest(
            "merge is not for a shared job: it would read other jobs",
            code="invalid_value",
            field="merge",
        )
    name, pieces = stream_results(services(), job_id, tenant, form, wanted)
    response = download(pieces, MEDIA_TYPES[form])
    response.headers["Content-Disposition"] = disposition(f"{name}.{form}")
    return response
