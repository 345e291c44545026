"""A JobStore on a real server, and short ways to make jobs and workers in it."""

from __future__ import annotations

from typing import Any, Protocol

from bench.lib.jobs import job_fields
from common.store import keys
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.incarnation import Exchanged, Incarnation, Result
from common.store.jobs import JobStore, new_job_id
from common.store.packing import pack
from common.store.upload_stage import Stage
from common.stored_item import StoredItem
from common.types import ItemState, ModelCard
from tests.support import cards

DAY = 86_400_000  # ms
BATCH_FIELDS = {
    "file": "file-1",
    "endpoint": "/v1/completions",
    "window": "24h",
    "expires_at": 9,
    "metadata": "{}",
}


def card(name: str = "m", slots: int = 8) -> ModelCard:
    return cards.card(name, digest="d", context=8192, slots=slots, created=0)


def done(
    exchanged: Exchanged, state: ItemState = ItemState.SUCCEEDED, tokens: int = 5
) -> list[Result]:
    """Results for everything an exchange gave out."""
    return [
        Result(
            run.job_id,
            run.first + i,
            run.attempt,
            state,
            3,
            tokens,
            pack({"outputs": [{"text": f"r{run.first + i}"}]}),
        )
        for run in exchanged.runs
        for i in range(run.count)
    ]


def taken(exchanged: Exchanged) -> list[tuple[str, int, int]]:
    """(job, index, attempt) of everything an exchange gave out."""
    return [
        (run.job_id, run.first + i, run.attempt) for run in exchanged.runs for i in range(run.count)
    ]


class HasId(Protocol):
    """A worker, of this version or another."""

    id: str


class Mill:
    """The store as the web tier and a worker use it."""

    def __init__(self, url: str):
        self.client = connect(url)
        self.store = JobStore(self.client)
        self.fleet = Fleet(self.client)
        self.fleet.publish(card(), b"")

    def stage(
        self, needs: list[int], n: int = 1, named: bool = True, beside: bool = False
    ) -> Stage:
        """Items that take so many slots, those that take `n` do not say it; with custom_ids if they
        are `named`, and with their number `beside` them."""
        stage = self.store.stage(n)
        for i, need in enumerate(needs):
            item: StoredItem = {"prompt": f"prompt {i}"}
            if named:
                item["custom_id"] = f"c{i}"
            if need != n:
                item["params"] = {"n": need}
            stage.add(item, {"vars": {"i": i}} if beside else None)
        stage.close()
        return stage

    def submit(
        self,
        items: int | list[int],
        tenant: str = "t",
        job_id: str | None = None,
        n: int = 1,
        beside: bool = False,
        **fields: object,
    ) -> str:
        """So many items, or one for each number of slots; those that take `n` do not say it."""
        options: dict[str, Any] = {
            name: fields.pop(name) for name in ("idempotency", "deadline") if name in fields
        }
        if isinstance(items, list):
            fields = {"n_max": max(items)} | fields
        needs = items if isinstance(items, list) else [n] * items
        stage = self.stage(needs, n, beside=beside)
        spec = {"params": {"max_tokens": 7}}
        hash_fields = job_fields("m", "d", stage.total, spec, tenant=tenant, **fields)
        return self.store.attach(
            stage, hash_fields, job_id=job_id or new_job_id(), **options
        ).job_id

    def worker(self, slots: int = 8, lease: float = 5.0, name: str | None = None) -> Incarnation:
        incarnation = Incarnation(self.client, card(slots=slots), lease)
        incarnation.id = name or incarnation.id
        incarnation.register({"host": "h", "pid": "1", "started_at": "0"})
        return incarnation

    def counts(self, job_id: str) -> dict[str, int]:
        """The counts that are not zero."""
        job = self.store.job(job_id)
        found = {state.value: getattr(job, state.value) for state in ItemState}
        assert sum(found.values()) == job.total
        return {name: count for name, count in found.items() if count}

    def lose(self, incarnation: HasId) -> None:
        """Let a lease run out without waiting for it."""
        self.client.zadd(keys.WORKERS, {incarnation.id: 1})

    def tick(self, max_attempts: int = 3) -> None:
        """A tick that really runs, and does not take the time since the last for an outage."""
        self.client.hset(keys.PREFIX + "tick", "at", str(self.store.now() - 1000))
        assert self.fleet.tick(5.0, max_attempts).ran
