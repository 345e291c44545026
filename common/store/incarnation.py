"""A worker process as the store knows it: an *incarnation*, a random id with a lease, and what the
process calls under it. Knows Redis; nothing of engines or HTTP."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis

from common.store import keys
from common.store.connection import redis_errors
from common.store.packing import pack, unpack
from common.store.scripts import Scripts
from common.types import ItemState, ModelCard


@dataclass(frozen=True)
class Result:
    """One item as a worker hands it in. `blob` is `packing.pack` of outputs, usage, error, seed,
    attempts, …

    With the state `pending` it is handed back, uncharged: `blob` is `packing.pack` of each
    continuation's token ids.
    """

    job_id: str
    index: int
    attempt: int
    state: ItemState
    prompt_tokens: int
    completion_tokens: int
    blob: bytes


@dataclass(frozen=True)
class Run:
    """Contiguous items of a job that an exchange gave out, all in the chunk that begins at item
    `chunk`.

    `resumed`: it is one item, which ran before and got somewhere; `Incarnation.progress` says how
    far.
    """

    job_id: str
    first: int
    count: int
    attempt: int
    chunk: int
    resumed: bool = False


@dataclass(frozen=True)
class Progress:
    """The token ids of each continuation of an item that did not end, and the kernels that computed
    them: `""` where that is not known, `MIXED` where they were several."""

    tokens: list[list[int]] = field(default_factory=list)
    kernels: str = ""


MIXED = "mixed"

# `job index` -> (offset, token ids from there on) of each continuation; `job index kernels` -> what
# computed them. For items with a grammar also `job index guidance` -> the version of the library
# that follows it.
Checkpoint = Mapping[str, list[tuple[int, list[int]]] | str]


@dataclass(frozen=True)
class Exchanged:
    """An exchange's answer. `lost`: the lease is gone, nothing was taken; `refused`: results of
    items that this worker does not hold."""

    lost: bool = False
    refused: list[tuple[str, int]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    now: int = 0  # ms, the server's clock
    hooked: bool = False
    more: bool = False  # work waits that had too few slots


class Incarnation:
    """One worker process as the store knows it, from `register` until its lease ends or it
    releases.

    Methods may be called from the turn's and the heartbeat's thread. `lost` once the store no
    longer knows it: the worker then drops all items and registers under another id.
    """

    def __init__(self, client: redis.Redis, card: ModelCard, lease: float):
        self.id = secrets.token_hex(8)
        self._client = client
        self._scripts = Scripts(client)
        self._card = card
        self._lease = int(lease * 1000)  # ms
        # Guards call and held together: a heartbeat must not see one without the other.
        self._lock = threading.Lock()
        self._call = 0
        self._held: set[tuple[str, int]] = set()
        self.rings = 0  # Rings of the model that no worker had taken at the last heartbeat.

    def register(self, about: dict[str, str]) -> None:
        """Publish the worker and take a lease; `about` is host, pid, started_at and the like. What
        is kept of a worker goes with its lease, not by itself: the lease outlives any absence of
        the server."""
        name = keys.worker(self.id)
        with redis_errors():
            seconds, micros = self._client.time()
            pipe = self._client.pipeline(transaction=True)
            shown = {
                "model": self._card.id,
                "digest": self._card.digest,
                "engine": self._card.engine,
                "device": self._card.device,
            }
            pipe.hset(
                name,
                mapping={
                    **about,
                    **shown,
                    "slots": self._card.slots,
                    "room": self._card.slots,
                    "call": "",
                },
            )
            pipe.zadd(keys.room(self._card.id), {self.id: 0})
            pipe.zadd(keys.WORKERS, {self.id: seconds * 1000 + micros // 1000 + self._lease})
            pipe.execute()

    def exchange(
        self, results: list[Result], room: int, kept: int = 0, *, shared: bool = False
    ) -> Exchanged:
        """Hand in results and take items for `room` slots, the last `kept` of them for interactive
        jobs only. Sent again after a lost reply, it changes nothing. A worker whose slots are
        `shared` with other models hears of work when it has no room, too.

        Raises:
            Unavailable: the server is away; call again with the same arguments and the same call
            number is used.
        """
        flat = [
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
        with self._lock:
            with redis_errors():
                answer = json.loads(
                    self._scripts.exchange(
                        *flat,
                        incarnation=self.id,
                        call=self._call + 1,
                        room=room,
                        kept=kept,
                        shared=int(shared),
                    )
                )
            self._call += 1
            if answer.get("lost"):
                return Exchanged(lost=True)
            runs = [Run(*run) for run in answer["runs"]]
            self._held.difference_update((result.job_id, result.index) for result in results)
            self._held.update((run.job_id, run.first + i) for run in runs for i in range(run.count))
        refused = [(job_id, index) for job_id, index in answer["refused"]]
        return Exchanged(
            refused=refused,
            runs=runs,
            now=answer["now"],
            hooked=answer["hooked"],
            more=answer.get("more", False),
        )

    @property
    def held(self) -> int:
        """Items given out to this worker, whose results it has not handed in."""
        return len(self._held)

    def heartbeat(self, room: int | None = None) -> dict[str, str] | None:
        """Renew the lease. Answers wishes by job (cancelled, expired, paused, gone), or None when
        the lease is gone, or the server forgot what this worker did.

        `room`: the free slots of an engine that serves several models; None: what the last exchange
        left is still true."""
        with self._lock:
            jobs = {job_id for job_id, _ in self._held}
            with redis_errors():
                call = str(self._call) if self._call else ""
                answer = self._scripts.heartbeat(
                    *jobs,
                    incarnation=self.id,
                    lease=self._lease,
                    call=call,
                    count=len(self._held),
                    room="" if room is None else room,
                )
        if not answer[0]:
            return None
        self.rings = int(answer[1])
        texts = [part.decode() for part in answer[2:]]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def checkpoint(self, tokens: Checkpoint, *, whole: bool, first: list[tuple[str, int]]) -> None:
        """Keep how far items got, so that the next worker that holds them goes on from there.

        `tokens` are the new ones since the last call; with `whole` all there are, in place of what
        was kept before. `first` names the items that got further under this worker for the first
        time: losing it costs them no attempt.
        """
        slots = [f"{job_id} {index}" for job_id, index in first]
        with redis_errors():
            self._scripts.checkpoint(
                *slots,
                incarnation=self.id,
                lease=self._lease,
                whole=int(whole),
                blob=pack(tokens),
            )

    def stream(self, said: list[tuple[str, int, int, str]]) -> None:
        """Tell what items said: (job, index, attempt, tokens as `job:{id}:events` has them) of
        each."""
        with redis_errors():
            self._scripts.stream(*(part for each in said for part in each), incarnation=self.id)

    def progress(self, job_id: str, index: int, guidance: str | None = None) -> Progress:
        """What an earlier holder of the item left; empty when that is lost. `guidance` is the
        version of the library that follows the item's grammar, if it has one: empty where another
        version left it."""
        with redis_errors():
            kept = self._client.hget(keys.job(job_id, "from"), str(index))
            if kept is None:
                return Progress()
            if not kept.startswith(b"@"):
                return _handed_back(kept, guidance)
            blobs = self._client.lrange(keys.checkpoint(kept[1:].decode()), 0, -1)
        found: list[list[int]] = []
        kernels = ""
        name = f"{job_id} {index}"
        for blob in map(unpack, blobs):
            if name in blob and blob.get(f"{name} guidance") != guidance:
                return Progress()
            kernels = blob.get(f"{name} kernels", kernels)
            for sequence, (offset, tokens) in enumerate(blob.get(name, [])):
                found.extend([] for _ in range(len(found), sequence + 1))
                if offset <= len(found[sequence]):  # else the server lost a blob in between
                    found[sequence][offset:] = tokens
        return Progress(found, kernels)

    def release(self, max_attempts: int = 0) -> tuple[int, int]:
        """Hand back what is held and leave; uncharged, or with `max_attempts` charged as if this
        worker had died. Answers (items handed back, rings)."""
        with self._lock, redis_errors():
            count, rings, _hooked = self._scripts.release(
                incarnation=self.id, max_attempts=max_attempts
            )
            self._held.clear()
        return int(count), int(rings)


def handed_back_blob(progress: Progress, guidance: str | None) -> bytes:
    """How far an item got that its worker hands back; `guidance` is the version of the library that
    follows its grammar, if it has one."""
    made_by = {"kernels": progress.kernels, "guidance": guidance}
    return pack({"tokens": progress.tokens, **made_by})


def _handed_back(blob: bytes, guidance: str | None) -> Progress:
    """What is in such a blob; nothing if another version left it. Earlier versions of promptmill
    stored the tokens alone."""
    kept = unpack(blob)
    if not isinstance(kept, dict):
        kept = {"tokens": kept}
    if kept.get("guidance") != guidance:
        return Progress()
    return Progress(kept["tokens"], kept.get("kernels", ""))
