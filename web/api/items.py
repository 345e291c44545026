"""The native API's items: their inputs and results, also as files."""

from __future__ import annotations

from flask import Response

from web.api.answers import answer, submit_answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.jobs.changes import append_items
from web.jobs.item_search import find_items
from web.jobs.item_views import item_list
from web.jobs.judges import verdicts
from web.jobs.results import MEDIA_TYPES, stream_results
from web.jobs.summary import error_groups, summary
from web.schemas.answers import AppendView
from web.schemas.items import ItemList
from web.schemas.overviews import ErrorGroups, JobSummary
from web.schemas.queries import ItemPage, ResultsQuery
from web.schemas.requests import MoreItems
from web.schemas.verdicts import VerdictList, VerdictPage
from web.services.services import services
from web.wire.bodies import read_items, read_query
from web.wire.client import idempotency_key
from web.wire.description import described
from web.wire.downloads import disposition, download


@api.get("/v1/jobs/<job_id>/items")
@described(
    "Items in order, each with its input and its result",
    ItemList,
    query=ItemPage,
    errors=(409,),
)
@needs_tenant
def items(tenant: str, job_id: str) -> Response:
    page = read_query(ItemPage)
    if page.searches:
        return answer(find_items(services(), job_id, tenant, page))
    return answer(item_list(services(), job_id, tenant, page))


@api.post("/v1/jobs/<job_id>/items")
@described(
    "Add items to a live job",
    AppendView,
    status=202,
    body=MoreItems,
    headers=("Idempotency-Key",),
    errors=(429,),
)
@needs_tenant
def append(tenant: str, job_id: str) -> Response:
    return submit_answer(append_items(services(), job_id, tenant, read_items(), idempotency_key()))


@api.get("/v1/jobs/<job_id>/summary")
@described("What the charts of a job show", JobSummary)
@needs_tenant
def charts(tenant: str, job_id: str) -> Response:
    return answer(summary(services(), job_id, tenant))


@api.get("/v1/jobs/<job_id>/errors")
@described("What failed, grouped by code and message", ErrorGroups)
@needs_tenant
def errors(tenant: str, job_id: str) -> Response:
    return answer(error_groups(services(), job_id, tenant))


@api.get("/v1/jobs/<job_id>/verdicts")
@described(
    "What a judge found, row by row, and how often",
    VerdictList,
    query=VerdictPage,
    errors=(409,),
)
@needs_tenant
def judged(tenant: str, job_id: str) -> Response:
    return answer(verdicts(services(), job_id, tenant, read_query(VerdictPage)))


@api.get("/v1/jobs/<job_id>/results.<any(jsonl, csv, parquet):form>")
@described(
    "Finished items as a file, also while the job runs",
    media_types=tuple(MEDIA_TYPES.values()),
    query=ResultsQuery,
    errors=(406, 409),
)
@needs_tenant
def results(tenant: str, job_id: str, form: str) -> Response:
    name, pieces = stream_results(services(), job_id, tenant, form, read_query(ResultsQuery))
    response = download(pieces, MEDIA_TYPES[form])
    response.headers["Content-Disposition"] = disposition(f"{name}.{form}")
    return response
