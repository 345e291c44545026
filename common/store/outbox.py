"""The outbox of webhook events and what became of each try. Knows Redis; nothing of HTTP or
signatures.

The scripts that make an event true write it (`lua/lib/notify.lua`, `emit`); webhook workers claim
what is due, post it and record the outcome. Tenants take turns. Retries wait here, in `hooks:due`,
never in a Celery countdown, which a killed worker would take with it. An event is delivered at
least once: a receiver tells repetitions by their `webhook-id`.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import redis

from common.errors import Unavailable
from common.store.connection import redis_errors
from common.store.metrics import Tally
from common.store.scripts import Scripts

LONGEST_PAUSE = 3600.0  # seconds between two tries at most
MOST_AT_ONCE = 6  # deliveries of a tenant under way


class HookState(StrEnum):
    """Where an event is. Terminal states never change."""

    PENDING = "pending"  # emit writes it so; due now, claimed, or waiting for its next try
    DELIVERED = "delivered"  # record: the receiver answered 2xx
    FAILED = "failed"  # record: the last try failed, or the target may not be called at all


@dataclass(frozen=True)
class Try:
    """One delivery attempt as users see it: `at` and `next_at` in ms of the Redis server's
    clock."""

    at: int
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    next_at: int | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A webhook event as its owner's view shows it."""

    id: str
    type: str  # Such as job.finished.
    status: HookState
    tries: tuple[Try, ...]  # In order of time.


def parse_event(event_id: str, raw: Mapping[bytes, bytes]) -> StoredEvent:
    """The event of a hash as the server answered it.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    tries = tuple(
        Try(
            each["at"],
            each["duration_ms"],
            each.get("status_code"),
            each.get("error"),
            each.get("next_at"),
        )
        for each in json.loads(raw[b"tries"])
    )
    return StoredEvent(event_id, raw[b"type"].decode(), HookState(raw[b"status"].decode()), tries)


@dataclass(frozen=True)
class Event:
    """One claimed event. `claim` fences what its holder records; `claimed_at` and `created_at` are
    server ms."""

    id: str
    tenant: str
    owner: str  # the job or batch it tells of
    type: str
    created_at: int
    data: dict[str, Any]
    tries: list[dict[str, Any]] = field(repr=False)
    claim: str = field(repr=False)
    claimed_at: int


@dataclass(frozen=True)
class Outcome:
    """What a try came to. `ok` ends the event as delivered, `hopeless` as failed whatever the
    number of tries left."""

    seconds: float
    status_code: int | None = None
    error: str | None = None
    hopeless: bool = False

    @property
    def ok(self) -> bool:
        return self.error is None and self.status_code is not None and 200 <= self.status_code < 300


class Outbox:
    """The outbox as a webhook worker sees it. Safe for threads.

    `lease` (seconds) is how long a claim lasts, more than a try can take; `attempts` and `backoff`
    (seconds) are the retry plan. Tenants are served in turn, and have `most` deliveries under way
    at once, all webhook workers together.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        lease: float,
        attempts: int,
        backoff: float,
        most: int = MOST_AT_ONCE,
    ):
        self._scripts = Scripts(client)
        self._client = client
        self._tally = Tally()
        self._lease = int(lease * 1000)  # ms
        self._most = most
        self._attempts = attempts
        self._backoff = backoff

    def due(self, limit: int = 1) -> list[Event]:
        """Claim up to `limit` events that are due, of tenants in turn; no other worker gets them
        while the lease lasts."""
        claim = secrets.token_hex(8)
        with redis_errors():
            now, *flat = self._scripts.claim_hooks(
                limit=limit, lease=self._lease, claim=claim, most=self._most
            )
        return [_event(flat[at : at + 7], claim, now) for at in range(0, len(flat), 7)]

    def record(self, event: Event, outcome: Outcome) -> HookState | None:
        """Append a try to its event, which ends or becomes due again. None when the claim was lost
        meanwhile."""
        number = len(event.tries) + 1
        state, next_at = HookState.PENDING, None
        ended_at = event.claimed_at + int(outcome.seconds * 1000)
        if outcome.ok:
            state = HookState.DELIVERED
        elif outcome.hopeless or number >= self._attempts:
            state = HookState.FAILED
        else:
            next_at = ended_at + int(pause(number, self._backoff) * 1000)
        entry = Try(
            event.claimed_at,
            ended_at - event.claimed_at,
            outcome.status_code,
            outcome.error,
            next_at,
        )
        recorded = self._store(event, state, [*event.tries, asdict(entry)], next_at)
        self._tally.count("deliveries", "retried" if state == HookState.PENDING else state.value)
        with suppress(Unavailable):  # then the next try takes it along
            self._tally.flush(self._client)
        return state if recorded else None

    def postpone(self, event: Event, seconds: float) -> None:
        """Give a claimed event back untried; it is due again in `seconds`."""
        self._store(event, HookState.PENDING, event.tries, event.claimed_at + int(seconds * 1000))

    def _store(
        self, event: Event, state: HookState, tries: list[dict[str, Any]], next_at: int | None
    ) -> bool:
        with redis_errors():
            return bool(
                self._scripts.record_hook(
                    event=event.id,
                    tenant=event.tenant,
                    claim=event.claim,
                    status=state.value,
                    tries=json.dumps(tries),
                    due=next_at or "",
                )
            )


def _event(fields: list[bytes], claim: str, now: int) -> Event:
    """What the script answers about one event."""
    event, tenant, owner, kind, created, data, tries = fields
    texts = event.decode(), tenant.decode(), owner.decode(), kind.decode()
    return Event(*texts, int(created), json.loads(data), json.loads(tries), claim, now)


def pause(number: int, backoff: float) -> float:
    """Seconds between try `number` and the next: `backoff` tripled at each, an hour at most.

    A tenth more or less, so that events which failed together do not all come back together.
    """
    return min(backoff * 3.0 ** (number - 1), LONGEST_PAUSE) * random.uniform(0.9, 1.1)
