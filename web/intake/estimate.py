"""How long a job may take, by how fast the tenant's last jobs on the same model went."""

from __future__ import annotations

from common.store.jobs import JobStore
from common.store.records import readable
from common.types import ModelCard
from web.schemas.answers import TimeRange

LOOK_BACK = 20  # jobs


def estimate(
    store: JobStore, tenant: str, card: ModelCard, max_completion_tokens: int
) -> TimeRange | None:
    """Seconds once it starts, from "as short answers and as fast as the best" to "all of
    max_tokens, as the slowest".

    None when no job of this tenant finished on these weights, or none took long enough to tell.
    """
    jobs, _ = store.jobs(tenant, None, LOOK_BACK)
    finished = [
        job for job in jobs if job.get("digest") == card.digest and job.get("status") == "completed"
    ]
    speeds, shares = [], []
    for seconds, generated, asked in readable(finished, _went, lambda job: job["id"]):
        if seconds >= 1 and generated and asked > 0:
            speeds.append(generated / seconds)
            shares.append(min(1.0, generated / asked))
    if not speeds:
        return None
    return TimeRange(
        low=round(max_completion_tokens * min(shares) / max(speeds), 1),
        high=round(max_completion_tokens / min(speeds), 1),
    )


def _went(job: dict[str, str]) -> tuple[float, int, int]:
    """How many seconds a finished job took, how many tokens it generated, and how many it was
    expected to."""
    seconds = (int(job["finished_at"]) - int(job["started_at"])) / 1000
    asked = int(job["cost"]) * int(job["total"]) - int(job["prompt_tokens"])
    return seconds, int(job["completion_tokens"]), asked
