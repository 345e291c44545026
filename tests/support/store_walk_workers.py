"""Steps of the random walk that workers take."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from common.store.incarnation import Incarnation, Result
from common.types import ItemState
from tests.support.store import taken
from tests.support.store_model import flat, sent
from tests.support.store_walk import Walk

ENDS = [ItemState.SUCCEEDED, ItemState.SUCCEEDED, ItemState.SUCCEEDED, ItemState.FAILED]


class WorkerSteps(Walk):
    @rule(slots=st.sampled_from([1, 4, 9]))
    def register(self, slots: int) -> None:
        if len(self.workers) < 3:
            self.join(slots)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), room=st.sampled_from([9, 9, 9, 4, 1, 0]))
    def exchange(self, data: st.DataObject, room: int) -> None:
        worker = self.worker(data)
        held = self.held_by(worker.id)
        chosen = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        self.turn(worker, [self.result(data, job_id, index) for job_id, index in chosen], room)

    def working(self) -> list[str]:
        return [name for name in self.workers if self.held_by(name)]

    @precondition(lambda self: self.working())
    @rule(data=st.data(), end=st.sampled_from(ENDS), room=st.sampled_from([9, 9, 4, 0]))
    def hand_in(self, data: st.DataObject, end: ItemState, room: int) -> None:
        """A worker ends all that it holds."""
        worker = self.workers[data.draw(st.sampled_from(self.working()))]
        held = self.held_by(worker.id)
        self.turn(worker, [self.end(job_id, index, end) for job_id, index in held], room)

    def turn(self, worker: Incarnation, results: list[Result], room: int) -> None:
        self.calls[worker.id] = (flat(results), sent(worker, room))
        answer = worker.exchange(results, room)
        assert not answer.lost and answer.refused == []
        for job_id in {result.job_id for result in results}:
            self.jobs[job_id].obey_wishes()
        self.given(worker, taken(answer), {(r.job_id, r.first): r.resumed for r in answer.runs})
        assert (
            sum(self.jobs[job_id].items[index].slots for job_id, index, _ in taken(answer)) <= room
        )

    def result(self, data: st.DataObject, job_id: str, index: int) -> Result:
        return self.end(job_id, index, data.draw(st.sampled_from([*ENDS, ItemState.PENDING])))

    def unwanted(self, incarnation: str) -> list[tuple[str, int]]:
        return [
            (j, i)
            for j, i in self.held_by(incarnation)
            if self.jobs[j].cancelled or self.jobs[j].expired
        ]

    @precondition(lambda self: any(map(self.unwanted, self.workers)))
    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        """A worker stops what is no longer wanted, and hands in what there is of it."""
        worker = self.workers[
            data.draw(st.sampled_from([name for name in self.workers if self.unwanted(name)]))
        ]
        stopped = self.unwanted(worker.id)
        ends = {
            j: ItemState.CANCELLED if self.jobs[j].cancelled else ItemState.EXPIRED
            for j, _ in stopped
        }
        assert worker.exchange([self.end(j, i, ends[j]) for j, i in stopped], 0).refused == []
        self.calls.pop(worker.id, None)

    def in_time(self) -> list[str]:
        return [
            j
            for j, job in self.jobs.items()
            if job.count(ItemState.RUNNING) and not (job.cancelled or job.expired)
        ]

    @precondition(lambda self: self.in_time())
    @rule(data=st.data(), cancelled=st.sampled_from([True, True, False]))
    def stop_while_running(self, data: st.DataObject, cancelled: bool) -> None:
        """A deadline passes or a job is cancelled while its items run, and their workers stop
        them."""
        job_id = data.draw(st.sampled_from(self.in_time()))
        end = ItemState.CANCELLED if cancelled else ItemState.EXPIRED
        if cancelled:
            self.mill.store.cancel(job_id)
            self.jobs[job_id].cancelled = True
        else:
            self.mill.store.edit(job_id, "deadline", self.mill.store.now() - 1)
            self.tick()
            self.jobs[job_id].expired = True
        self.jobs[job_id].obey_wishes()
        for worker in self.workers.values():
            stopped = [(j, i) for j, i in self.held_by(worker.id) if j == job_id]
            if stopped:
                results = [self.end(j, i, end) for j, i in stopped]
                assert worker.exchange(results, 0).refused == []
                self.calls.pop(worker.id, None)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """A reply was lost: the client sends the same exchange again."""
        rest, named = self.calls[data.draw(st.sampled_from(list(self.calls)))]
        json.loads(self.mill.store.scripts.exchange(*rest, **named))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        worker = self.worker(data)
        wishes = worker.heartbeat()
        assert wishes is not None
        for job_id, wish in wishes.items():
            job = self.jobs.get(job_id)
            wanted = (
                "gone"
                if job is None
                else "cancelled"
                if job.cancelled
                else "expired"
                if job.expired
                else "paused"
            )
            assert wish == wanted and (job is None or job.cancelled or job.expired or job.paused)
        forgotten = [(job_id, index) for job_id, index in worker._held if job_id not in self.jobs]
        if forgotten:
            answer = worker.exchange(
                [Result(j, i, 1, ItemState.SUCCEEDED, 0, 0, b"{}") for j, i in forgotten], 0
            )
            assert sorted(answer.refused) == sorted(forgotten)
            self.calls.pop(worker.id, None)

    def young(self, incarnation: str) -> list[tuple[str, int]]:
        return [(j, i) for j, i in self.held_by(incarnation) if not self.jobs[j].items[i].grown]

    @precondition(lambda self: any(map(self.young, self.workers)))
    @rule(data=st.data(), lost=st.booleans())
    def checkpoint(self, data: st.DataObject, lost: bool) -> None:
        worker = self.workers[
            data.draw(st.sampled_from([name for name in self.workers if self.young(name)]))
        ]
        job_id, index = data.draw(st.sampled_from(self.young(worker.id)))
        self.scripts.lose = lost
        worker.checkpoint(
            {f"{job_id} {index}": [(0, [7, index])]}, whole=False, first=[(job_id, index)]
        )
        self.jobs[job_id].items[index].grown = True
