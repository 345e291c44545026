"""What must hold after every step of the random walk: the store is as the model says."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis.stateful import invariant

from common.store import keys
from common.store.side_chunk import unpack_side
from common.types import ItemState
from tests.support.store_model import JobModel
from tests.support.store_walk import Walk


class Agreement(Walk):
    @invariant()
    def the_store_agrees(self) -> None:
        type(self).steps += 1
        answers = self.read_all()
        each = {}  # tokens and bytes of an item, by job
        kept: Counter[str] = Counter()  # bytes, by tenant
        looked_after = 0  # jobs that ticks look after
        for job_id, job in self.jobs.items():
            stored = {name.decode(): value.decode() for name, value in next(answers).items()}
            self.check_listed(job_id, job, stored, answers)
            looked_after += self.check_beside(job, answers)
            each[job_id] = {"items": 1} | {
                name: int(stored[field])
                for name, field in (("tokens", "cost"), ("bytes", "weight"), ("surplus", "surplus"))
            }
            kept[job.tenant] += 0 if stored["interactive"] == "1" else int(stored["bytes"])
        for incarnation in self.workers:
            held = {name.decode() for name in next(answers)}
            assert {name for name in held if name.split()[0] in self.jobs} == {
                f"{j} {i}" for j, i in self.held_by(incarnation)
            }
        for tenants in ("a", "b", "ab"):
            self.check_waiting(tenants, each, next(answers))
        for tenant in ("a", "b"):
            assert int(next(answers) or 0) == kept[tenant]
        unfinished = {name.decode() for name in next(answers)}
        assert unfinished == {job_id for job_id, job in self.jobs.items() if not job.over}
        assert next(answers) == looked_after

    def read_all(self) -> Iterator[Any]:
        """In one round trip: this is most of what a walk takes."""
        pipe = self.mill.client.pipeline(transaction=False)
        for job_id, job in self.jobs.items():
            pipe.hgetall(keys.job(job_id)).get(keys.job(job_id, "st")).get(
                keys.job(job_id, "order")
            )
            for lane in ("ready", "interactive"):
                pipe.zscore(f"pm:{lane}:m:{job.tenant}", job_id)
            pipe.zscore(keys.suspects("m"), job_id)
            pipe.hgetall(keys.job(job_id, "side"))
            pipe.sismember("pm:beside", job_id)
            pipe.exists(keys.job(job_id, "idem"))
        for incarnation in self.workers:
            pipe.hkeys(keys.held(incarnation))
        for tenant in ("a", "b", ""):
            pipe.hgetall(keys.queued(tenant))
        for tenant in ("a", "b"):
            pipe.hget(keys.stored(tenant), "jobs")
        pipe.smembers(keys.unfinished("m"))
        pipe.scard("pm:beside")
        return iter(pipe.execute())

    def check_listed(
        self, job_id: str, job: JobModel, stored: dict[str, str], answers: Iterator[Any]
    ) -> None:
        states, order = next(answers).decode(), next(answers) or b""
        scores = (next(answers), next(answers))
        ranked = next(answers) is not None
        self.check_job(job_id, job, stored, states)
        assert sorted(index for (index,) in struct.iter_unpack(">I", order)) == sorted(job.order)
        suspects = job.claimable and sum(item.suspect for item in job.items)
        rest = job.claimable and job.count(ItemState.PENDING) > suspects
        assert (scores[int(stored["interactive"])] is not None) == rest
        assert ranked == bool(suspects)

    def check_beside(self, job: JobModel, answers: Iterator[Any]) -> bool:
        """What was submitted beside the items is there, at their indices. Answers whether there is
        anything that ticks have to look after."""
        found = {
            int(first) + place: side["vars"]["i"]
            for first, blob in next(answers).items()
            for place, side in enumerate(unpack_side(blob))
        }
        submitted = {i: item.beside for i, item in enumerate(job.items) if item.beside is not None}
        assert found == submitted
        is_listed, has_key = next(answers), next(answers)
        assert bool(is_listed) == bool(found or has_key)
        return bool(is_listed)

    def check_waiting(
        self, tenants: str, each: dict[str, dict[str, int]], counted: dict[bytes, bytes]
    ) -> None:
        waiting = Counter(items=0, tokens=0, bytes=0, **({"surplus": 0} if tenants == "ab" else {}))
        for job_id, job in self.jobs.items():
            if job.tenant in tenants:
                pending = job.count(ItemState.PENDING)
                waiting.update({name: pending * each[job_id][name] for name in waiting})
        assert {name: int(counted.get(name.encode(), 0)) for name in waiting} == waiting

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
