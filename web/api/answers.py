"""Answers of the native API: a model as JSON, with the headers that a job's answer has."""

from __future__ import annotations

from flask import Response
from pydantic import BaseModel

from common.store.packing import one_line
from web.schemas.answers import JobView

POLL_AGAIN = 2  # seconds that a polling client should wait before it asks again


def answer(body: BaseModel, status: int = 200) -> Response:
    return Response(
        one_line(body.model_dump_json().encode()), status, content_type="application/json"
    )


def job_answer(view: JobView, status: int = 200) -> Response:
    """A job; while it is not over, `Retry-After` says when to ask again."""
    response = answer(view, status)
    if not view.status.terminal:
        response.headers["Retry-After"] = str(POLL_AGAIN)
    return response


def submit_answer(view: JobView) -> Response:
    """A job that was made or got items, by this request or by an earlier one with the same
    idempotency key."""
    response = job_answer(view, 202)
    response.headers["Location"] = view.links["self"]
    if view.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
