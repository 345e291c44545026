"""A random walk over the real scripts on a real server, held against a plain Python model of the
states.

The model does not predict which items an exchange gives out (that is policy, tested elsewhere); it
says what may be given out, and what everything must look like afterwards.
"""

from __future__ import annotations

import copy
import itertools
import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.errors import Conflict
from common.store import keys, scripts
from common.store.incarnation import Exchanged, Incarnation, Result, Run
from common.store.packing import pack
from common.store.scripts import Scripts
from common.types import MOVES, ItemState
from tests.support.store import Mill, taken

EXAMPLES, STEPS = 130, 100  # at least 5,000 steps; hypothesis stops an example early now and then
MAX_ATTEMPTS, MOST_FREE = 2, 10  # two, not three: a walk of 100 steps reaches it
ENDS = [ItemState.SUCCEEDED, ItemState.SUCCEEDED, ItemState.SUCCEEDED, ItemState.FAILED]


def needs(items: int) -> list[int]:
    """Slots of each item of a job, or of what is appended: in a quarter of them every third takes
    two."""
    wide = 2 if items % 4 == 3 else 1
    return [wide if i % 3 == 1 else 1 for i in range(items)]


@dataclass
class ItemModel:
    slots: int = 1
    state: ItemState = ItemState.PENDING
    holder: str | None = None
    charged: int = 0
    free: int = 0
    grown: bool = False
    tokens: list[list[int]] = field(default_factory=list)  # what a next holder is to be told

    @property
    def suspect(self) -> bool:
        return self.state == ItemState.PENDING and self.charged > 0


@dataclass
class JobModel:
    tenant: str
    items: list[ItemModel]
    cost: int
    cancelled: bool = False
    expired: bool = False
    paused: bool = False
    order: list[int] = field(default_factory=list)

    def count(self, state: ItemState) -> int:
        return sum(item.state == state for item in self.items)

    @property
    def over(self) -> bool:
        return self.count(ItemState.PENDING) + self.count(ItemState.RUNNING) == 0

    @property
    def claimable(self) -> bool:
        return self.count(ItemState.PENDING) > 0 and not (
            self.cancelled or self.expired or self.paused
        )

    @property
    def status(self) -> str:
        if not self.over:
            return "running" if self.started else "queued"
        if self.cancelled and self.count(ItemState.CANCELLED):
            return "cancelled"
        return "expired" if self.count(ItemState.EXPIRED) else "completed"

    started: bool = False

    def obey_wishes(self) -> None:
        """What waits of a job that is no longer wanted ends."""
        for item in self.items:
            if item.state == ItemState.PENDING and (self.cancelled or self.expired):
                item.state = ItemState.CANCELLED if self.cancelled else ItemState.EXPIRED


@dataclass
class Saved:
    """All there was at a moment: the server's keys, the model, and how many calls each live worker
    had made."""

    dumps: dict[bytes, tuple[bytes, int]]
    jobs: dict[str, JobModel]
    calls: dict[str, int]
    seen: dict[str, str]


class Lossy:
    """The scripts over a bad line: the answer of the next call may be lost, so that it is sent
    again and runs twice."""

    def __init__(self, scripts: Scripts):
        self._scripts = scripts
        self.lose = False
        self.lost: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*rest: object, **named: object) -> object:
            answer = getattr(self._scripts, name)(*rest, **named)
            if self.lose:
                self.lose = False
                self.lost[name] += 1
                answer = getattr(self._scripts, name)(*rest, **named)
            return answer

        return call


class StoreMachine(RuleBasedStateMachine):
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

    # Submitting and editing

    @rule(items=st.integers(1, 12), tenant=st.sampled_from("ab"), interactive=st.booleans())
    def attach(self, items: int, tenant: str, interactive: bool) -> None:
        if len(self.jobs) < 6:
            slots = needs(items)
            job_id = self.mill.submit(
                slots,
                tenant,
                f"job_{next(self.names)}",
                interactive=int(interactive),
                surplus=items % 3,
            )
            self.jobs[job_id] = JobModel(tenant, list(map(ItemModel, slots)), cost=10)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), items=st.integers(1, 5), lost=st.booleans())
    def append(self, data: st.DataObject, items: int, lost: bool) -> None:
        self.scripts.lose = lost
        job_id, slots = self.job(data), needs(items)
        job, stage = self.jobs[job_id], self.mill.stage(slots, named=False)
        send = partial(
            self.mill.store.append,
            job_id,
            stage,
            tokens=items * 10,
            n_max=max(slots),
            most_items=1000,
            surplus=items,
        )
        if job.over or job.cancelled:
            with pytest.raises(Conflict):
                send()
        else:
            added = send()
            assert (added.first, added.count) == (len(job.items), items)
            job.items += map(ItemModel, slots)
            job.obey_wishes()

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        wish=st.sampled_from(["paused", "resumed", "cancel", "deadline", "deadline", "priority"]),
        lost=st.booleans(),
    )
    def edit(self, data: st.DataObject, wish: str, lost: bool) -> None:
        self.scripts.lose = lost
        job_id = self.job(data)
        job = self.jobs[job_id]
        if wish == "cancel":
            self.mill.store.cancel(job_id)
            if not job.over:
                job.cancelled = True
                job.obey_wishes()
            return
        field_name, value = {
            "paused": ("paused", 1),
            "resumed": ("paused", 0),
            "priority": ("priority", 3),
            "deadline": ("deadline", self.mill.store.now() - 1),
        }[wish]
        if job.over:
            with pytest.raises(Conflict):
                self.mill.store.edit(job_id, field_name, value)
            return
        self.mill.store.edit(job_id, field_name, value)
        if field_name == "paused":
            job.paused = bool(value)
        if field_name == "deadline":
            self.tick()
            job.expired = True
            job.obey_wishes()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self.job(data)
        self.mill.store.delete(job_id)
        del self.jobs[job_id]

    # Workers

    @rule(slots=st.sampled_from([1, 4, 9]))
    def register(self, slots: int) -> None:
        if len(self.workers) < 3:
            self.join(slots)

    def join(self, slots: int) -> None:
        """A worker begins, or starts over under a new name."""
        worker = self.mill.worker(slots=slots, lease=300, name=f"w{next(self.names)}")
        worker._scripts = self.scripts
        self.workers[worker.id] = worker

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), room=st.sampled_from([9, 9, 9, 4, 1, 0]))
    def exchange(self, data: st.DataObject, room: int) -> None:
        worker = self.worker(data)
        held = self.held_by(worker.id)
        chosen = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        results = [self.result(data, job_id, index) for job_id, index in chosen]
        self.calls[worker.id] = (flat(results), sent(worker, room))
        answer = worker.exchange(results, room)
        assert not answer.lost and answer.refused == []
        for job_id in {job_id for job_id, _ in chosen}:
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
    @rule(data=st.data(), cancelled=st.booleans())
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
                assert resumed[job_id, index] and worker.progress(job_id, index) == item.tokens
            item.state, item.holder = ItemState.RUNNING, worker.id
        for job_id in {job_id for job_id, _, _ in items}:
            self.jobs[job_id].started = True
        charged = {self.jobs[j].items[i].charged for j, i in self.held_by(worker.id)}
        assert len(charged) <= 1 or 0 not in charged or not items, "suspects run among themselves"

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

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), drained=st.booleans(), lost=st.booleans())
    def leave(self, data: st.DataObject, drained: bool, lost: bool) -> None:
        worker = self.worker(data)
        held = self.held_by(worker.id)
        self.scripts.lose = lost
        if drained:
            worker.release()
        else:
            self.mill.lose(worker)
            self.reap()
        self.gone(worker, held, charged=not drained)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), room=st.integers(0, 9), refused=st.booleans())
    def raise_in_the_turn(self, data: st.DataObject, room: int, refused: bool) -> None:
        """An exchange was done and its reply came to nothing: the worker hands back what it holds,
        and what it does not know of."""
        worker = self.worker(data)
        self.struck["exception"] += 1
        answer = json.loads(self.scripts.exchange(**sent(worker, room)))
        given = Exchanged(runs=[Run(*run) for run in answer["runs"]])
        self.given(worker, taken(given), {(r.job_id, r.first): r.resumed for r in given.runs})
        self.the_store_agrees()
        held = self.held_by(worker.id)
        worker.release(0 if refused else MAX_ATTEMPTS)
        self.gone(worker, held, charged=not refused)
        self.join(worker._card.slots)

    @precondition(lambda self: self.workers and not self.saved)
    @rule()
    def save(self) -> None:
        """What a replica has, or an older file: the server may be set back to it."""
        names = self.mill.client.keys(keys.PREFIX + "*")
        pipe = self.mill.client.pipeline(transaction=False)
        for name in names:
            pipe.dump(name).pttl(name)
        answers = pipe.execute()
        dumps = dict(zip(names, zip(answers[::2], answers[1::2], strict=True), strict=True))
        calls = {name: worker._call for name, worker in self.workers.items()}
        self.saved = Saved(dumps, copy.deepcopy(self.jobs), calls, dict(self.seen))

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), exchanges=st.booleans())
    def lose_the_tail(self, data: st.DataObject, exchanges: bool) -> None:
        """The server forgets what it acknowledged since. Live workers find out, with a heartbeat or
        an exchange."""
        saved = self.saved
        assert saved
        pipe = self.mill.client.pipeline(transaction=False).flushdb()
        for key, (dump, ttl) in saved.dumps.items():
            pipe.restore(key, max(ttl, 0), dump)
        pipe.execute()
        self.jobs, self.seen, self.saved = copy.deepcopy(saved.jobs), dict(saved.seen), None
        self.calls.clear()
        for name in sorted(
            saved.calls.keys() - self.workers.keys()
        ):  # it left in what was lost: nobody renews its lease
            held = self.held_by(name)
            self.mill.client.zadd(keys.WORKERS, {name: 1})
            self.reap()
            self.take_all_back(held, charged=True)
        for name, worker in list(self.workers.items()):
            if name not in saved.calls or saved.calls[name] < worker._call:
                held = self.held_by(name)
                self.struck["exchange" if exchanges else "heartbeat"] += 1  # after a lost tail
                assert worker.exchange([], 5).lost if exchanges else worker.heartbeat() is None
                self.gone(worker, held, charged=False)
                self.join(worker._card.slots)

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

    # What must hold after every step

    @invariant()
    def the_store_agrees(self) -> None:
        type(self).steps += 1
        # One round trip: this is most of what a walk takes.
        pipe = self.mill.client.pipeline(transaction=False)
        for job_id, job in self.jobs.items():
            pipe.hgetall(keys.job(job_id)).get(keys.job(job_id, "st")).get(
                keys.job(job_id, "order")
            )
            for lane in ("ready", "interactive"):
                pipe.zscore(f"pm:{lane}:m:{job.tenant}", job_id)
            pipe.zscore(keys.suspects("m"), job_id)
        for incarnation in self.workers:
            pipe.hkeys(keys.held(incarnation))
        for tenant in ("a", "b", ""):
            pipe.hgetall(keys.queued(tenant))
        for tenant in ("a", "b"):
            pipe.hget(keys.stored(tenant), "jobs")
        pipe.smembers(keys.unfinished("m"))
        answers = iter(pipe.execute())
        each = {}  # tokens and bytes of an item, by job
        kept: Counter[str] = Counter()  # bytes, by tenant
        for job_id, job in self.jobs.items():
            stored = {name.decode(): value.decode() for name, value in next(answers).items()}
            states, order, *scores = (
                next(answers).decode(),
                next(answers) or b"",
                next(answers),
                next(answers),
            )
            ranked = next(answers) is not None
            self.check_job(job_id, job, stored, states)
            assert sorted(index for (index,) in struct.iter_unpack(">I", order)) == sorted(
                job.order
            )
            suspects = job.claimable and sum(item.suspect for item in job.items)
            rest = job.claimable and job.count(ItemState.PENDING) > suspects
            assert (scores[int(stored["interactive"])] is not None) == rest
            assert ranked == bool(suspects)
            each[job_id] = {
                "items": 1,
                "tokens": int(stored["cost"]),
                "bytes": int(stored["weight"]),
            }
            each[job_id]["surplus"] = int(stored["surplus"])
            kept[job.tenant] += 0 if stored["interactive"] == "1" else int(stored["bytes"])
        for incarnation in self.workers:
            held = {name.decode() for name in next(answers)}
            assert {name for name in held if name.split()[0] in self.jobs} == {
                f"{j} {i}" for j, i in self.held_by(incarnation)
            }
        for tenants in ("a", "b", "ab"):
            waiting = Counter(
                items=0, tokens=0, bytes=0, **({"surplus": 0} if tenants == "ab" else {})
            )
            for job_id, job in self.jobs.items():
                if job.tenant in tenants:
                    pending = job.count(ItemState.PENDING)
                    waiting.update({name: pending * each[job_id][name] for name in waiting})
            counted = next(answers)
            assert {name: int(counted.get(name.encode(), 0)) for name in waiting} == waiting
        for tenant in ("a", "b"):
            assert int(next(answers) or 0) == kept[tenant]
        unfinished = {name.decode() for name in next(answers)}
        assert unfinished == {job_id for job_id, job in self.jobs.items() if not job.over}

    def check_job(self, job_id: str, job: JobModel, stored: dict[str, str], states: str) -> None:
        self.note_moves(self.seen.get(job_id, ""), states)
        self.seen[job_id] = states
        assert states == "".join(item.state.byte for item in job.items)
        assert {state: int(stored[state.value]) for state in ItemState} == {
            s: job.count(s) for s in ItemState
        }
        assert stored["status"] == job.status

    def note_moves(self, before: str, after: str) -> None:
        for index, byte in enumerate(after):
            start = ItemState.from_byte(before[index]) if index < len(before) else None
            if start is None or start.byte != byte:
                self.moves.add((start, ItemState.from_byte(byte)))

    def teardown(self) -> None:
        if hasattr(self, "mill"):
            type(self).replies_lost.update(self.scripts.lost)
            self.mill.client.close()


def sent(worker: Incarnation, room: int) -> dict[str, object]:
    """The named arguments of a worker's next exchange."""
    return {"incarnation": worker.id, "call": worker._call + 1, "room": room, "kept": 0}


def flat(results: list[Result]) -> list[object]:
    return [
        part
        for r in results
        for part in (
            r.job_id,
            r.index,
            r.attempt,
            r.state.value,
            r.prompt_tokens,
            r.completion_tokens,
            r.blob,
        )
    ]


@pytest.mark.timeout(400)  # two minutes on a busy machine
def test_the_store_never_leaves_its_model(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scripts.source("exchange")
    assert "SLICE = 1000" in whole
    # A walk is the same on a busy machine.
    timeless = {"exchange": whole.replace("SLICE = 1000", "SLICE = math.huge")}
    ticked = scripts.source("tick")
    for constant, other in (
        ("RECOUNTED = 1000", "RECOUNTED = 2"),
        ("RECOUNT_PAUSE = 600000", "RECOUNT_PAUSE = 0"),
    ):
        assert constant in ticked
        # So that it is in the middle of a tenant's jobs most of the time.
        ticked = ticked.replace(constant, other)
    timeless["tick"] = ticked
    monkeypatch.setattr(
        scripts, "source", lambda name, real=scripts.source: timeless.get(name) or real(name)
    )
    machine: Any = type(
        "Machine",
        (StoreMachine,),
        {"url": redis_url, "moves": set(), "replies_lost": Counter(), "struck": Counter()},
    )
    walk = machine.TestCase
    walk.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
        # A real server shrinks slowly; the failing walk is printed as it was.
        phases=[Phase.generate],
    )
    walk().runTest()
    assert machine.steps >= 5000, f"only {machine.steps} steps"
    told = {
        "attach",
        "append",
        "edit",
        "cancel",
        "delete",
        "exchange",
        "heartbeat",
        "checkpoint",
        "release",
        "tick",
    }
    assert told <= set(machine.replies_lost), machine.replies_lost
    assert min(machine.struck[kind] for kind in ("exception", "exchange", "heartbeat")) >= 5, (
        machine.struck
    )
    drawn = {(start, end) for start, ends in MOVES.values() for end in ends}
    # What is added to an expired job is seen as expired at once.
    born = {(None, end) for end in ItemState}
    assert machine.moves - born == drawn - born
