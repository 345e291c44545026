"""A random walk over the real scripts: what all its steps share.

The model does not predict which items an exchange gives out (that is policy, tested elsewhere); it
says what may be given out, and what everything must look like afterwards.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from common.store import keys
from common.store.incarnation import Incarnation, Result
from common.store.packing import pack
from common.types import ItemState
from tests.support.store import Mill
from tests.support.store_model import MAX_ATTEMPTS, MOST_FREE, JobModel, Lossy, Saved


class Walk(RuleBasedStateMachine):
    url: str
    steps = 0
    moves: set[tuple[ItemState | None, ItemState]]  # seen in all walks
    replies_lost: Counter[str]
    struck: Counter[str]

    @initialize()
    def begin(self) -> None:
        self.mill = Mill(self.url)
        self.mill.client.flushall()
        self.mill = Mill(self.url)
        self.mill.client.sadd(keys.TENANTS, "a", "b")
        scripts: Any = Lossy(self.mill.store.scripts)
        self.scripts = self.mill.store.scripts = self.mill.fleet._scripts = scripts
        self.seen: dict[str, str] = {}  # the states of each job after the last step
        self.jobs: dict[str, JobModel] = {}
        self.workers: dict[str, Incarnation] = {}
        # The last exchange of each worker, as it was sent.
        self.calls: dict[str, tuple[list[object], dict[str, object]]] = {}
        self.saved: Saved | None = None
        # Not random ones: hypothesis repeats walks, and names decide between equals.
        self.names = itertools.count(100)

    # Picking

    def job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.jobs)))

    def worker(self, data: st.DataObject) -> Incarnation:
        return self.workers[data.draw(st.sampled_from(list(self.workers)))]

    def held_by(self, incarnation: str) -> list[tuple[str, int]]:
        return [
            (j, i)
            for j, job in self.jobs.items()
            for i, item in enumerate(job.items)
            if item.holder == incarnation
        ]

    @rule()
    def lose_a_reply(self) -> None:
        """Of the next script that is called."""
        self.scripts.lose = True

    @rule()
    def tick(self) -> None:
        """Nothing is due and nobody lost: nothing changes."""
        self.mill.client.hset(keys.PREFIX + "tick", "at", self.mill.store.now() - 1000)
        assert self.mill.fleet.tick(5.0, MAX_ATTEMPTS).reaped == []

    def join(self, slots: int) -> None:
        """A worker begins, or starts over under a new name."""
        worker = self.mill.worker(slots=slots, lease=300, name=f"w{next(self.names)}")
        worker._scripts = self.scripts
        self.workers[worker.id] = worker

    def end(self, job_id: str, index: int, state: ItemState) -> Result:
        """The result of an item, in the model, too."""
        job = self.jobs[job_id]
        item = job.items[index]
        attempt = item.charged + 1
        item.holder, item.grown, item.state = None, False, state
        if state == ItemState.PENDING:
            item.tokens = [[1, index]]
            return Result(job_id, index, attempt, state, 0, 0, pack(item.tokens))
        job.order.append(index)
        return Result(job_id, index, attempt, state, 1, 2, pack({"outputs": []}))

    def given(
        self,
        worker: Incarnation,
        items: list[tuple[str, int, int]],
        resumed: dict[tuple[str, int], bool],
    ) -> None:
        for job_id, index, attempt in items:
            job = self.jobs[job_id]
            item = job.items[index]
            assert item.state == ItemState.PENDING and job.claimable
            assert attempt == item.charged + 1
            if item.tokens:
                assert (
                    resumed[job_id, index] and worker.progress(job_id, index).tokens == item.tokens
                )
            item.state, item.holder = ItemState.RUNNING, worker.id
        for job_id in {job_id for job_id, _, _ in items}:
            self.jobs[job_id].started = True
        charged = {self.jobs[j].items[i].charged for j, i in self.held_by(worker.id)}
        assert len(charged) <= 1 or 0 not in charged or not items, "suspects run among themselves"

    def reap(self) -> None:
        self.mill.client.hset(keys.PREFIX + "tick", "at", self.mill.store.now() - 1000)
        self.mill.fleet.tick(5.0, MAX_ATTEMPTS)

    def gone(self, worker: Incarnation, held: list[tuple[str, int]], *, charged: bool) -> None:
        """The store does not know this worker any more; what it held is others'."""
        late = [
            Result(j, i, self.jobs[j].items[i].charged + 1, ItemState.SUCCEEDED, 1, 1, b"{}")
            for j, i in held
        ]
        self.take_all_back(held, charged=charged)
        assert worker.exchange(late, 5).lost, "late writes are refused"
        assert worker.heartbeat() is None
        del self.workers[worker.id]
        self.calls.pop(worker.id, None)

    def take_all_back(self, held: list[tuple[str, int]], *, charged: bool) -> None:
        for job_id, index in held:
            self.taken_back(job_id, index, charged=charged)
        for job_id in {job_id for job_id, _ in held}:
            self.jobs[job_id].obey_wishes()

    def taken_back(self, job_id: str, index: int, *, charged: bool) -> None:
        item = self.jobs[job_id].items[index]
        if item.grown:
            item.tokens = [[7, index]]
        if charged and item.grown and item.free < MOST_FREE:
            item.free += 1
        elif charged:
            item.charged += 1
        item.holder, item.grown, item.state = None, False, ItemState.PENDING
        if charged and item.charged >= MAX_ATTEMPTS:
            item.state = ItemState.FAILED
            self.jobs[job_id].order.append(index)

    def teardown(self) -> None:
        if hasattr(self, "mill"):
            type(self).replies_lost.update(self.scripts.lost)
            self.mill.client.close()
