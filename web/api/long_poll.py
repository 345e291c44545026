"""Waits for the end of a job, or of a comparison, for `?wait=`."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.errors import Unauthorized
from common.store.grants import Grant
from web.jobs.comparisons import Wanted, comparison
from web.services.caps import open_stream
from web.services.services import Services

PACE = 0.05  # seconds between two reads of the job, which may change hundreds of times a second


def wait_for_end(
    services: Services, grant: Grant, job_id: str, seconds: float, hung_up: Callable[[], bool]
) -> None:
    """Return when the job is over, when the time is up, or when the client hung up.

    Raises:
        NotFound: no such job of the tenant.
        Unauthorized: the key or the session was ended meanwhile.
        TooMany, Unavailable: too many event streams and long-polls are open.
    """
    end = time.monotonic() + seconds
    services.store.job(job_id, grant.tenant)
    with open_stream(services, grant, job_id, hung_up) as watch:
        while not services.store.job(job_id, grant.tenant).status.terminal:
            remaining = end - time.monotonic()
            if isinstance(watch.ended, Unauthorized):
                raise watch.ended
            if remaining <= 0 or watch.ended:
                return
            watch.wait(remaining)
            time.sleep(PACE)


def wait_for_comparison(
    services: Services, grant: Grant, wanted: Wanted, seconds: float, hung_up: Callable[[], bool]
) -> None:
    """The same for a comparison, whose end is told to those who follow its baseline.

    Raises:
        Unauthorized, TooMany, Unavailable: as above; and what `comparison` raises.
    """
    end = time.monotonic() + seconds
    with open_stream(services, grant, wanted.jobs[0].id, hung_up) as watch:
        while comparison(services, grant.tenant, wanted.asked).result is None:
            remaining = end - time.monotonic()
            if isinstance(watch.ended, Unauthorized):
                raise watch.ended
            if remaining <= 0 or watch.ended:
                return
            watch.wait(remaining)
            time.sleep(PACE)
