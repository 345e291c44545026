"""The native API's presets: kept, listed, shown and deleted."""

from __future__ import annotations

from flask import Response

from web.api.answers import answer
from web.api.blueprint import api
from web.auth import needs_tenant
from web.intake.presets import all_presets, delete_preset, find_preset, head_of, keep_preset
from web.schemas.presets import PresetBody, PresetList, PresetMade, PresetView
from web.services.services import services
from web.wire.bodies import read_json
from web.wire.description import described


@api.get("/v1/presets")
@described("Your presets, then the built-in ones", PresetList)
@needs_tenant
def presets(tenant: str) -> Response:
    return answer(PresetList(data=list(all_presets(services(), tenant))))


@api.put("/v1/presets/<name>")
@described(
    "Keep a new version of a preset; none is made where the newest says the same",
    PresetMade,
    status=201,
    body=PresetBody,
    errors=(409, 429),
)
@needs_tenant
def put_preset(tenant: str, name: str) -> Response:
    return answer(keep_preset(services(), tenant, name, read_json(PresetBody)), 201)


@api.get("/v1/presets/<name>")
@described("A preset by name, or one version as name@version", PresetView)
@needs_tenant
def preset(tenant: str, name: str) -> Response:
    found = find_preset(services(), tenant, name)
    body = found.body
    said = body.model_dump(mode="json", exclude_none=True)
    said["params"] = body.params.model_dump(mode="json", exclude_unset=True)
    shown = {name: said.get(name) for name in PresetBody.model_fields}
    return answer(PresetView(**{**shown, **dict(head_of(found))}, versions=list(found.versions)))


@api.delete("/v1/presets/<name>")
@described(
    "Delete a preset, or one version as name@version; jobs made with it stay as they are",
    status=204,
    errors=(409,),
)
@needs_tenant
def remove_preset(tenant: str, name: str) -> Response:
    delete_preset(services(), tenant, name)
    return Response(status=204)
