"""The API of raters, with the cookie of their link.

Under `/rate`, because the cookie is sent to these paths only (docs/decisions/0017-studies.md).
"""

from __future__ import annotations

from flask import Response

from common.store.packing import one_line
from common.store.raters import RaterGrant
from web.rating.blueprint import for_raters, rating
from web.rating.tasks import keep_answers, next_task
from web.schemas.studies import Answers, NextTask
from web.services.services import services
from web.wire.bodies import json_body
from web.wire.description import described


@rating.get("/rate/v1/rating/next")
@described("What you are to rate now; the same until you have", NextTask, for_raters=True)
@for_raters
def next_to_rate(grant: RaterGrant) -> Response:
    _, task = next_task(services(), grant)
    return Response(one_line(task.model_dump_json().encode()), content_type="application/json")


@rating.put("/rate/v1/rating/<task>")
@described("Rate a task, or rate it anew", status=204, body=Answers, for_raters=True, errors=(409,))
@for_raters
def rate(grant: RaterGrant, task: str) -> Response:
    keep_answers(services(), grant, task, json_body())
    return Response(status=204)


@rating.delete("/rate/v1/rating/last")
@described(
    "Take back what you rated last; it is next again", status=204, for_raters=True, errors=(409,)
)
@for_raters
def undo(grant: RaterGrant) -> Response:
    services().raters.undo(grant)
    return Response(status=204)
