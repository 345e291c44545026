"""Jobs and items as users see them, made from the JobStore's records."""

from __future__ import annotations

from typing import Any

from web.schemas import JobList, JobView
from web.services import Services


def job_view(services: Services, job_id: str, tenant: str) -> JobView:
    """One job; `NotFound` for another tenant's."""
    raise NotImplementedError


def job_list(services: Services, tenant: str, after: str | None = None, limit: int = 20) -> JobList:
    """A tenant's jobs, newest first."""
    raise NotImplementedError


def item_rows(services: Services, job_id: str, tenant: str, first: int, count: int) -> list[dict[str, Any]]:
    """`ItemRow`s of items [first, first + count), as dictionaries."""
    raise NotImplementedError
