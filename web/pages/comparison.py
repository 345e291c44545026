"""The page that compares jobs: what differs in settings, scores and speed, and the outputs side by
side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import redirect, render_template, request, url_for

from common.cooperate import Steps
from common.errors import Conflict
from common.result_row import InputRow
from common.types import JsonObject
from evals.registry import METRICS
from web.intake.validation_messages import validated
from web.jobs.comparison_rows import Found, Together, find_rows
from web.jobs.comparisons import Wanted, comparison_view, wanted
from web.jobs.job_list import job_list
from web.pages.blueprint import logged_in, pages
from web.pages.word_diff import Piece, word_diff
from web.schemas.comparisons import ComparisonView, RowsQuery, ids_of, wrong_number
from web.schemas.queries import JobPage
from web.services.services import services

ROWS = 10  # on one page
MOST_TEXT = 4000  # characters of an output; the page of the item shows all
MOST_OUTPUTS = 4  # of an item; so, too
OFFERED = 50  # of the newest jobs, in the form that chooses two
COLUMNS = 6  # of a row that are shown
FILTERS = {
    "all": "All",
    "changed": "Changed",
    "better": "Better",
    "worse": "Worse",
    "failed": "Failed",
}
LETTERS = "ABCD"


@dataclass(frozen=True)
class Output:
    """An output with the words marked that differ from the baseline's, or, of the baseline, from
    the other job's."""

    pieces: Sequence[Piece]
    longer: int  # characters that are left out


@dataclass(frozen=True)
class Cell:
    """What one job made of a row."""

    letter: str
    row: InputRow
    outputs: Sequence[Output]
    scores: Mapping[str, float | None]
    difference: float | None


@dataclass(frozen=True)
class ShownRow:
    row: InputRow  # the baseline's
    columns: Sequence[str]
    cells: Sequence[Cell]


@pages.get("/compare")
@logged_in
def compare(tenant: str) -> Any:
    chosen = request.args.getlist("job")  # of the form, or of the list of jobs
    if len(chosen) > 1:
        return redirect(url_for("pages.compare", jobs=",".join(chosen)), 303)
    if not request.args.get("jobs"):
        return _choose(tenant, chosen)
    ids = ids_of(request.args["jobs"])
    if wrong := wrong_number(ids):
        return _choose(tenant, ids, f"The address {wrong}."), 422
    given = {name: value for name, value in request.args.items() if value}
    query = validated(RowsQuery, {**given, "limit": ROWS})
    try:
        found = wanted(services(), tenant, query.ids)
    except Conflict as problem:
        return _not_yet(tenant, query, problem)
    view = comparison_view(services(), tenant, found)
    rows = find_rows(services(), tenant, found, query) if view.status == "done" else None
    return render_template(
        "comparison.html",
        tenant=tenant,
        view=view,
        query=query,
        kept=_kept(query),
        rows=rows,
        shown=_shown(found, rows) if rows else [],
        letters=LETTERS,
        filters=FILTERS,
        meanings={each.metric: METRICS[each.metric].meaning for each in view.metrics},
        counts=_counts(view, rows),
    )


def _choose(tenant: str, chosen: Sequence[str], wrong: str = "") -> str:
    """The form that takes two jobs; the baseline may be chosen already. `wrong`: what was wrong
    with the jobs that were named."""
    jobs = job_list(services(), tenant, JobPage(limit=OFFERED)).data
    over = [job for job in jobs if job.status.terminal and job.counts.succeeded]
    baseline = (*chosen, *(job.id for job in over[1:2]), "")[0]
    return render_template(
        "compare_form.html", tenant=tenant, jobs=over, baseline=baseline, wrong=wrong
    )


def _not_yet(tenant: str, query: RowsQuery, problem: Conflict) -> tuple[str, int]:
    missing = []
    if problem.code == "not_evaluated":
        ids = dict.fromkeys(query.ids)
        missing = [each for each in ids if services().evaluations.newest_done(each) is None]
    page = render_template(
        "compare_form.html",
        tenant=tenant,
        jobs=[],
        problem=problem,
        wanted=query.ids,
        missing=missing,
    )
    return page, problem.status


def _kept(query: RowsQuery) -> JsonObject:
    """What links keep of the view."""
    return query.model_dump(include={"jobs", "filter", "metric"}, exclude_defaults=True)


def _counts(view: ComparisonView, rows: Found | None) -> dict[str, int]:
    """How many rows each filter finds, where that is known."""
    if view.matched is None or rows is None:
        return {}
    found = {
        "all": view.matched.rows,
        "changed": view.matched.changed,
        "failed": view.matched.rows - view.matched.succeeded,
    }
    metric = next((each for each in view.metrics if each.metric == rows.metric), None)
    apart = metric.jobs[1].difference if metric and len(metric.jobs) == 2 else None
    if apart and apart.wins is not None and apart.losses is not None:
        found |= {"better": apart.wins, "worse": apart.losses}
    return found


def _shown(found: Wanted, rows: Found) -> list[ShownRow]:
    ids, steps, shown = [job.id for job in found.jobs], Steps(), []
    for each in rows.rows:
        shown.append(_row(ids, each))
        steps.step()
    return shown


def _row(ids: Sequence[str], together: Together) -> ShownRow:
    base = together.rows[ids[0]]
    texts = [_texts(together.rows[job_id]) for job_id in ids]
    marked = _marked(texts)
    cells = [
        Cell(
            LETTERS[place],
            together.rows[job_id],
            outputs,
            together.scores.get(job_id, {}),
            together.difference.get(job_id) if place else None,
        )
        for place, (job_id, outputs) in enumerate(zip(ids, marked, strict=True))
    ]
    return ShownRow(base, list(base.get("vars") or {})[:COLUMNS], cells)


def _texts(row: InputRow) -> list[str]:
    return [output["text"] for output in row["outputs"][:MOST_OUTPUTS]]


def _marked(texts: Sequence[Sequence[str]]) -> list[list[Output]]:
    """Each job's outputs, compared with the baseline's in the same place. The baseline's are marked
    where there is one other job only."""
    base, *others = texts
    found = [[_output(text, [Piece(text[:MOST_TEXT], False)]) for text in base]]
    for other in others:
        outputs = []
        for place, text in enumerate(other):
            before = base[place] if place < len(base) else ""
            marks = word_diff(before[:MOST_TEXT], text[:MOST_TEXT])
            outputs.append(_output(text, marks.after))
            if len(others) == 1 and place < len(base):
                found[0][place] = _output(before, marks.before)
        found.append(outputs)
    return found


def _output(text: str, pieces: Sequence[Piece]) -> Output:
    return Output(pieces, max(0, len(text) - MOST_TEXT))
