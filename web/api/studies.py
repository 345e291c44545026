"""The native API's studies: made, listed, shown, exported and deleted; and their raters' links.

What raters say comes in under `web/rating/`.
"""

from __future__ import annotations

from flask import Response

from web.api.answers import answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.jobs.studies import add_rater, create_study, study_list, study_view
from web.jobs.study_export import MEDIA_TYPES, stream_study
from web.schemas.studies import (
    RaterMade,
    RaterRequest,
    StudyDetail,
    StudyList,
    StudyPage,
    StudyRequest,
    StudyView,
)
from web.services.services import services
from web.wire.bodies import read_json, read_query
from web.wire.client import idempotency_key
from web.wire.description import described
from web.wire.downloads import disposition, download


@api.post("/v1/studies")
@described(
    "Make a study: people rate what jobs have generated",
    StudyView,
    status=201,
    body=StudyRequest,
    headers=("Idempotency-Key",),
    errors=(404, 409, 429),
)
@needs_tenant
def make_study(tenant: str) -> Response:
    wanted = read_json(StudyRequest)
    view, replayed = create_study(services(), tenant, wanted, idempotency_key())
    response = answer(view, 201)
    response.headers["Location"] = view.links["self"]
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@api.get("/v1/studies")
@described("Your studies, newest first", StudyList, query=StudyPage, errors=(404,))
@needs_tenant
def studies(tenant: str) -> Response:
    wanted = read_query(StudyPage)
    return answer(study_list(services(), tenant, wanted.after, wanted.limit))


@api.get("/v1/studies/<study_id>")
@described("A study, with its people and what their votes amount to", StudyDetail)
@needs_tenant
def study(tenant: str, study_id: str) -> Response:
    return answer(study_view(services(), study_id, tenant))


@api.delete("/v1/studies/<study_id>")
@described("Delete a study with its ratings and links, at once", status=204)
@needs_tenant
def remove_study(tenant: str, study_id: str) -> Response:
    services().studies.delete(study_id, tenant)
    return Response(status=204)


@api.get("/v1/studies/<study_id>/export.<any(jsonl, csv):form>")
@described("All ratings as a file", media_types=tuple(MEDIA_TYPES.values()))
@needs_tenant
def export_study(tenant: str, study_id: str, form: str) -> Response:
    name, pieces = stream_study(services(), study_id, tenant, form)
    response = download(pieces, MEDIA_TYPES[form])
    response.headers["Content-Disposition"] = disposition(name)
    return response


@api.post("/v1/studies/<study_id>/raters")
@described(
    "Make a link for a person who is to rate; its address is told only now",
    RaterMade,
    status=201,
    body=RaterRequest,
    errors=(409,),
)
@needs_tenant
def make_rater(tenant: str, study_id: str) -> Response:
    return answer(add_rater(services(), study_id, tenant, read_json(RaterRequest).name), 201)


@api.delete("/v1/studies/<study_id>/raters/<rater_id>")
@described("End a rater's link; what was rated with it stays", status=204)
@needs_tenant
def revoke_rater(tenant: str, study_id: str, rater_id: str) -> Response:
    services().raters.revoke(study_id, tenant, rater_id)
    return Response(status=204)
