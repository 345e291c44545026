"""`/v1/models`: the models that requests may name, as OpenAI's client lists them.

The native API has no other list."""

from __future__ import annotations

from flask import Blueprint, Response

from web.auth import needs_tenant
from web.jobs.views import model_list, model_view
from web.openai.errors import OPENAI_SHAPE
from web.openai.schemas import json_answer
from web.schemas.answers import ModelList, ModelView
from web.services.services import services
from web.wire.bodies import refuse_unread
from web.wire.description import described
from web.wire.error_answers import answer_errors

models = Blueprint("models", __name__)
models.before_request(refuse_unread)
answer_errors(models, OPENAI_SHAPE, "/v1/models")


@models.get("/v1/models")
@described("All models that were ever served", ModelList)
@needs_tenant
def listing(_tenant: str) -> Response:
    return json_answer(model_list(services()))


@models.get("/v1/models/<path:name>")
@described("A model", ModelView)
@needs_tenant
def retrieve(_tenant: str, name: str) -> Response:
    return json_answer(model_view(services(), name))
