"""Every other test ends with a search for keys that nobody would ever remove; this is the search
itself."""

from __future__ import annotations

import pytest

from tests.support.leaks import leaks
from tests.support.store import Mill, done


@pytest.mark.parametrize(
    "name",
    [
        "pm:stray",
        "pm:job:job_1:new",
        "pm:held:nobody",
        "pm:worker:nobody",
        "pm:job:job_1",
        "pm:stage:x:in",
    ],
)
def test_a_key_that_nobody_owns_is_found(mill: Mill, name: str) -> None:
    mill.client.set(name, "x") if name != "pm:job:job_1" else mill.client.hset(
        name, "status", "completed"
    )
    assert leaks(mill.client) == [name]
    mill.client.delete(name)


def test_what_jobs_and_workers_leave_while_they_live_is_owned(mill: Mill) -> None:
    job_id, worker = (
        mill.submit(5, hooks="job.started,job.finished", idempotency=("k", "f")),
        mill.worker(),
    )
    answer = worker.exchange([], 3)
    worker.checkpoint({f"{job_id} 0": [(0, [1])]}, whole=True, first=[(job_id, 0)])
    worker.exchange(done(answer)[:1], 0)
    assert leaks(mill.client) == []
    mill.client.delete("pm:due")
    worker.exchange(done(answer)[1:], 0)
    assert leaks(mill.client) == []
