"""How long a job may take, by how fast the tenant's last jobs on the same model went."""

from __future__ import annotations

from common.store import JobStore
from common.types import ModelCard
from web.schemas import TimeRange

LOOK_BACK = 20  # jobs


def estimate(store: JobStore, tenant: str, card: ModelCard, max_completion_tokens: int) -> TimeRange | None:
    """Seconds once it starts, from "as short answers and as fast as the best" to "all of max_tokens, as the slowest".

    None when no job of this tenant finished on these weights, or none took long enough to tell.
    """
    jobs, _ = store.jobs(tenant, None, LOOK_BACK)
    speeds, shares = [], []
    for job in jobs:
        seconds = (int(job.get("finished_at", 0)) - int(job.get("started_at", 0))) / 1000
        generated = int(job["completion_tokens"])
        asked = int(job["cost"]) * int(job["total"]) - int(job["prompt_tokens"])
        if job["digest"] == card.digest and job["status"] == "completed" and seconds >= 1 and generated and asked > 0:
            speeds.append(generated / seconds)
            shares.append(min(1.0, generated / asked))
    if not speeds:
        return None
    return TimeRange(
        low=round(max_completion_tokens * min(shares) / max(speeds), 1),
        high=round(max_completion_tokens / min(speeds), 1),
    )
