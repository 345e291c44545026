"""What a tenant asked for with a job, as the store keeps it: JSON in the field `spec` of its
hash."""

from __future__ import annotations

import json
from typing import TypedDict

from common.store.records import reading
from common.types import JsonObject


class WebhookSpec(TypedDict, total=False):
    """Where events of a job are delivered; without `secret` the tenant's own signs them."""

    url: str
    events: list[str]
    secret: str | None


class JobSpec(TypedDict, total=False):
    """Jobs of earlier versions lack what came later. `limits` are shown from the job's hash, where
    they can be changed."""

    model: str
    params: JsonObject  # the decoding parameters that were given, and those of the model's card
    defaulted: list[str]  # names of those of the card: another model has its own
    chat_template_kwargs: JsonObject
    webhook: WebhookSpec | None
    metadata: JsonObject
    limits: JsonObject
    metrics: list[str | JsonObject]  # that were asked for, by the request or its preset
    evaluate: bool  # False: nothing is scored when the job ends
    rendered_at: int  # the time that chat templates are told, in unix seconds


def parse_spec(job_id: str, stored: bytes) -> JobSpec:
    """The spec of a job.

    Raises:
        Unreadable: it is no JSON object.
    """
    with reading(job_id):
        found: JobSpec = json.loads(stored)
        if not stored.lstrip().startswith(b"{"):
            raise ValueError("spec is no JSON object")
    return found
