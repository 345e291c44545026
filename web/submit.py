"""The one entrance: every job, from the form, the native API or another dialect, comes to be in `submit_job`.

Nothing behind it validates again. Items stream through: checked, counted and written a chunk at a time, never held
whole; whatever goes wrong, what was staged is discarded and nothing is enqueued.
"""

from __future__ import annotations

from collections.abc import Iterable

from web.drafts import Draft
from web.schemas import CheckView, JobOptions, JobView
from web.services import Services


def submit_job(
    services: Services,
    tenant: str,
    options: JobOptions,
    drafts: Iterable[Draft],
    *,
    idempotency_key: str | None = None,
) -> JobView:
    """Validate, stage, attach, ring. The job is durable when this returns.

    Raises:
        InvalidRequest: with every problem found, up to 100, in `errors`.
        NotFound: no such model.
        Unavailable: Redis is away.
    """
    raise NotImplementedError


def check_job(services: Services, options: JobOptions, drafts: Iterable[Draft]) -> CheckView:
    """Everything `submit_job` would say of the same content, and what it would cost; nothing is written."""
    raise NotImplementedError
