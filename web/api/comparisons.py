"""The native API's comparisons of jobs."""

from __future__ import annotations

from flask import Response

from web.api.answers import POLL_AGAIN, answer
from web.api.blueprint import api
from web.api.long_poll import wait_for_comparison
from web.auth import grant, needs_tenant
from web.jobs.comparison_rows import row_list
from web.jobs.comparisons import comparison_view, wanted
from web.schemas.comparisons import ComparedRows, ComparisonQuery, ComparisonView, RowsQuery
from web.services.services import services
from web.wire.bodies import read_query
from web.wire.client import client_gone
from web.wire.description import described


@api.get("/v1/comparisons")
@described(
    "Jobs of the same items compared",
    ComparisonView,
    computed=True,
    query=ComparisonQuery,
    errors=(404, 409, 429),
)
@needs_tenant
def comparison(tenant: str) -> Response:
    query = read_query(ComparisonQuery)
    found = wanted(services(), tenant, query.ids)
    if query.wait:
        wait_for_comparison(services(), grant(), found, query.wait, client_gone())
    return _answer(comparison_view(services(), tenant, found))


@api.get("/v1/comparisons/rows")
@described(
    "Rows of a comparison: the items that belong together, with outputs and scores",
    ComparedRows,
    computed=True,
    query=RowsQuery,
    errors=(404, 409, 429),
)
@needs_tenant
def compared_rows(tenant: str) -> Response:
    query = read_query(RowsQuery)
    return _answer(row_list(services(), tenant, wanted(services(), tenant, query.ids), query))


def _answer(view: ComparisonView | ComparedRows) -> Response:
    if view.status == "done":
        return answer(view)
    response = answer(view, 202)
    response.headers["Retry-After"] = str(POLL_AGAIN)
    return response
