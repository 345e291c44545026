"""The page of one item: all that went in and all that came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import redirect, render_template, request, url_for

from common.errors import NotFound
from common.result_row import InputRow
from web.jobs.item_search import find_items
from web.jobs.item_views import item_rows
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.item_pages import PAGE
from web.pages.item_table import choices, item_query, said
from web.pages.job_evaluations import job_evaluations, score_view
from web.services.services import services


@pages.get("/jobs/<job_id>/items/<int:index>")
@logged_in
def item(tenant: str, job_id: str, index: int) -> str:
    """One item in full. The query is that of the list that it was opened from."""
    job = job_view(services(), job_id, tenant)
    rows: list[InputRow] = []
    evaluations = job_evaluations(services(), job_id, request.args)
    if index < job.counts.total:
        rendered, scores_of = bool(job.template), evaluations.scores_of
        rows = item_rows(services(), job_id, tenant, index, 1, rendered, scores_of)
    if not rows:
        raise NotFound(f"{job_id} has no item {index}")
    place = _place(request.args)
    return render_template(
        "item.html",
        tenant=tenant,
        job=job,
        row=rows[0],
        place=place,
        said=said(services(), job_id, rows).get(index, []),
        metrics=evaluations.scored_by,
        back=place if place else {"page": index // PAGE + 1} if index >= PAGE else {},
    )


@pages.get("/jobs/<job_id>/items/<int:index>/<any(next, previous):way>")
@logged_in
def neighbour(tenant: str, job_id: str, index: int, way: str) -> Any:
    """To the next item, or the one before, of those that are in the list."""
    job = job_view(services(), job_id, tenant)
    place, chosen = _place(request.args), choices(request.args)
    if not chosen:
        found = index + 1 if way == "next" else index - 1
    else:
        view = score_view(
            services(), job, job_evaluations(services(), job_id, request.args), chosen
        )
        order = "index" if way == "next" else "-index"
        after = view.place_of(index) if view and view.is_ranked else index
        wanted = item_query(chosen, after=after, limit=1).model_copy(update={"order": order})
        rows = find_items(services(), job_id, tenant, wanted, view).data
        if not rows:
            raise NotFound(
                f"the list has no item {'behind' if way == 'next' else 'before'} {index}"
            )
        found = rows[0].index
    values: dict[str, Any] = {"job_id": job_id, "index": found, **place}
    return redirect(url_for("pages.item", **values), 303)


def _place(args: Mapping[str, str]) -> dict[str, str]:
    """The choices of the list, and how it is shown."""
    shown = {name: args[name] for name in ("rows", "evaluation") if args.get(name)}
    return {**choices(args), **shown}
