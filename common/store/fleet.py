"""The fleet: the cards of models, the workers that serve them, and the tick that lets time pass.
Knows Redis; nothing of engines or HTTP."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

import redis

from common import ids
from common.errors import ConfigError, NotFound
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import as_text, readable, reading
from common.store.scripts import Scripts
from common.store.version import refuse_older
from common.types import ModelCard
from common.worker_command import none_yet

# Begins the record of a tokenizer that is another model's: its digest follows.
REFERENCE = b"@"


@dataclass(frozen=True)
class Tick:
    """What a tick found: rings missing per model, incarnations reaped, whether webhooks are due and
    a ring for them lies in the queue already, whether an evaluator should be rung, and how many
    seconds it is until something else is. `ran` is False when another was not a second ago: then
    only what was due was done."""

    ran: bool
    reaped: list[str]
    rings: dict[str, int]
    hooked: bool
    rung: bool
    evaluate: bool
    next_due: float


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker process that holds a lease. `Incarnation.register` stores the fields that name no
    other source."""

    id: str  # The incarnation: a random name that is never used again.
    model: str  # The name of the model that it serves.
    digest: str  # The digest of that model's card.
    engine: str  # Which engine runs the model: native, generate or echo.
    device: str  # The device that the model is on.
    host: str  # The name of its machine.
    pid: int  # Its process there.
    started_at: int  # When it started, in unix seconds of its machine's clock.
    slots: int  # Sequences that it can run at once.
    room: int  # Those that were free at its last exchange; of a shared engine, at its heartbeat.
    held: int  # Items that it holds now, counted when this was read.
    drained: bool  # It takes no items; `drain_worker` sets and clears it.


class Fleet:
    """What is known of workers and models."""

    def __init__(self, client: redis.Redis):
        self.client = client
        self._scripts = Scripts(client)

    def publish(self, card: ModelCard, tokenizer: bytes) -> None:
        """Make a model known. Its card stays when its workers go; its slots are those of the
        largest worker now. One with an adapter comes after the model without it.

        Raises:
            ConfigError: a live worker serves other weights under this name, or jobs that were made
                for others are not over, paused ones included.
        """
        live = [worker for worker in self.workers() if worker.model == card.id]
        for worker in live:
            if worker.digest != card.digest:
                raise ConfigError(
                    f"{card.id} is being served with other weights, another dtype, engine or "
                    f"template by worker {worker.id} on {worker.host}; give this one another name "
                    f"with {_names(card)}"
                )
        self._check_waiting(card)
        refuse_older(self.client, card.id)
        card = card.model_copy(
            update={"slots": max(card.slots, *(worker.slots for worker in live), 0)}
        )
        with redis_errors():
            pipe = self.client.pipeline(transaction=True)
            kept = card.base_digest and REFERENCE + card.base_digest.encode()
            pipe.set(keys.tokenizer(card.digest), kept or zlib.compress(tokenizer))
            pipe.set(keys.model(card.id), card.model_dump_json())
            pipe.sadd(keys.MODELS, card.id)
            pipe.execute()

    def _check_waiting(self, card: ModelCard) -> None:
        with redis_errors():
            known = self.client.get(keys.model(card.id))
            waiting = self.client.exists(keys.unfinished(card.id))
        if waiting and known and ModelCard.model_validate_json(known).digest != card.digest:
            raise ConfigError(
                f"jobs of {card.id} wait, run or are paused that were made for other weights, "
                "another dtype, engine or template; serve those to finish them, or cancel the "
                f"jobs, or give this model another name with {_names(card)}"
            )

    def models(self) -> list[ModelCard]:
        """Cards of all models ever served, by name."""
        with redis_errors():
            names = sorted(name.decode() for name in self.client.smembers(keys.MODELS))
            raw = self.client.mget([keys.model(name) for name in names]) if names else []
        found = [(name, card) for name, card in zip(names, raw, strict=True) if card]
        return list(
            readable(
                found, lambda pair: ModelCard.model_validate_json(pair[1]), lambda pair: pair[0]
            )
        )

    def model(self, name: str) -> ModelCard:
        """One card; `NotFound` names the known ones."""
        raw = None
        if ids.MODEL.fullmatch(name):
            with redis_errors():
                raw = self.client.get(keys.model(name))
        if raw is None:
            known = ", ".join(card.id for card in self.models()) or f"none yet: {none_yet()}"
            raise NotFound(
                f"no model {name[:256]!r} was ever served here; known: {known}",
                code="model_not_found",
                field="model",
            )
        with reading(f"the model {name}"):
            return ModelCard.model_validate_json(raw)

    def tokenizer(self, digest: str) -> bytes | None:
        with redis_errors():
            raw = self.client.get(keys.tokenizer(digest))
            if raw and raw.startswith(REFERENCE):
                raw = self.client.get(keys.tokenizer(raw.removeprefix(REFERENCE).decode()))
        return zlib.decompress(raw) if raw else None

    def workers(self) -> list[LiveWorker]:
        """The workers whose lease has not run out. One whose record cannot be read is left out,
        with a line in the log."""
        with redis_errors():
            seconds, micros = self.client.time()
            ids = self.client.zrangebyscore(keys.WORKERS, seconds * 1000 + micros // 1000, "+inf")
            pipe = self.client.pipeline(transaction=False)
            for incarnation in ids:
                pipe.hgetall(keys.worker(incarnation.decode()))
                pipe.hlen(keys.held(incarnation.decode()))
            answers = pipe.execute(raise_on_error=False)
        about = [each for each in zip(ids, answers[::2], answers[1::2], strict=True) if each[1]]
        return list(readable(about, _live_worker, lambda each: each[0].decode()))

    def drain(self, incarnation: str, drained: bool) -> int:
        """Have a worker take no more items, or take them again. Answers rings.

        Raises:
            NotFound: no live worker has this id.
        """
        with redis_errors():
            found, rings = self._scripts.drain_worker(incarnation=incarnation, drained=int(drained))
        if not found:
            raise NotFound(f"no live worker {incarnation[:64]!r}")
        return int(rings)

    def waiting(self) -> dict[str, int]:
        """What waits for a slot, of all tenants: items, and the tokens they may need."""
        with redis_errors():
            found = self.client.hmget(keys.queued(), "items", "tokens")
        return {
            name: int(value or 0) for name, value in zip(("items", "tokens"), found, strict=True)
        }

    def tick(self, lease: float, max_attempts: int, keep_bytes: int = 0) -> Tick:
        """Let time pass: reap, expire, purge, count missing rings. `lease` is in seconds.

        `keep_bytes` of finished jobs are kept, 0 for all.
        """
        with redis_errors():
            answer = json.loads(
                self._scripts.tick(
                    lease=int(lease * 1000), max_attempts=max_attempts, keep=keep_bytes
                )
            )
        return Tick(
            ran=answer["ran"],
            reaped=list(answer["reaped"]),
            rings=dict(answer["rings"]),
            hooked=answer["hooked"],
            rung=answer["rung"],
            evaluate=answer["evaluate"],
            next_due=answer["next_due"] / 1000,
        )


def _names(card: ModelCard) -> str:
    """The setting that names a model."""
    return "PROMPTMILL_ADAPTERS" if card.adapter else "PROMPTMILL_SERVED_NAME"


def _live_worker(found: tuple[bytes, Any, int]) -> LiveWorker:
    """A worker of its id, its record and how many items it holds."""
    incarnation, answer, held = found
    raw = as_text(answer)
    return LiveWorker(
        id=incarnation.decode(),
        model=raw["model"],
        digest=raw["digest"],
        engine=raw["engine"],
        device=raw["device"],
        host=raw["host"],
        pid=int(raw["pid"]),
        started_at=int(raw["started_at"]),
        slots=int(raw["slots"]),
        room=int(raw["room"]),
        held=held,
        drained="drained" in raw,
    )
