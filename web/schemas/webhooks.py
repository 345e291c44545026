"""Where webhooks are sent, and for which events of a job."""

from __future__ import annotations

from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from common.errors import InvalidRequest
from common.given import refuse
from common.signing import check_secret
from web.schemas.base import Schema

Event = Literal["job.started", "job.finished", "evaluation.finished"]


class Target(Schema):
    """Where to send webhook deliveries. They are signed with `secret`, or without one with the
    tenant's own."""

    url: str = Field(
        max_length=2048,
        description="An http or https URL.",
        examples=["https://example.com/hook"],
        json_schema_extra={"pattern": "^https?://"},
    )
    secret: str | None = Field(
        None, description="`whsec_` and the base64 of 24 to 64 random bytes."
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            good = (
                parts.scheme in ("http", "https")
                and parts.hostname
                and not parts.username
                and parts.port != 0
            )
        except ValueError:
            good = False
        if not good or not value.isascii() or any(character <= " " for character in value):
            raise refuse(
                "must be an http:// or https:// URL with a host and without user or password"
            )
        return value

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, value: str | None) -> str | None:
        try:
            return value if value is None else check_secret(value)
        except InvalidRequest as error:
            raise refuse(error.message) from None


class Webhook(Target):
    """Where to send which events of the job."""

    events: tuple[Event, ...] = Field(
        ("job.finished",),
        min_length=1,
        max_length=len(get_args(Event)),
        fail_fast=True,
        description="The events to send.",
    )

    @field_validator("events", mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value
