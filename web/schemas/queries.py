"""The models of the native API's queries: which page of a list is wanted, and how long to wait."""

from __future__ import annotations

from pydantic import Field

from web.schemas.base import Query


class JobPage(Query):
    after: str | None = Field(None, description="The id of a job: return those after it.")
    limit: int = Field(20, ge=1, le=100)


class ItemPage(Query):
    after: int = Field(
        -1, ge=-1, lt=2**31, description="The index of an item: return those after it."
    )
    limit: int = Field(100, ge=1, le=1000)


class Wait(Query):
    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait for the end of the job before answering."
    )


class EventCursor(Query):
    after: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Finished items already received; the header Last-Event-ID overrides it.",
    )
