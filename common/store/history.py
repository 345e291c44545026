"""What workers did in the last hour, minute by minute, as the tick noted it. Reads only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from common.store import keys
from common.store.connection import redis_errors
from common.store.records import readable

MINUTES = 60


@dataclass(frozen=True)
class Minute:
    """`at` is its beginning, in unix seconds. `waiting` is how many items of all tenants waited at
    its end, `tokens` how many were generated in it, by model; None where nobody noted it."""

    at: int
    waiting: int | None
    tokens: dict[str, int] | None


def last_hour(client: redis.Redis) -> list[Minute]:
    """The last 60 minutes that are over, the oldest first; empty where nothing was ever noted."""
    with redis_errors():
        pipe = client.pipeline(transaction=False)
        pipe.lrange(keys.HISTORY, 0, -1)
        pipe.time()
        stored, (seconds, _) = pipe.execute()
    samples = {
        sample["minute"]: sample
        for sample in readable(
            enumerate(stored), lambda each: _sample(each[1]), lambda _: "history"
        )
    }
    if not samples:
        return []
    now = seconds // 60
    return [
        _minute(minute, samples.get(minute), samples.get(minute + 1))
        for minute in range(now - MINUTES, now)
    ]


def _sample(stored: bytes) -> dict[str, Any]:
    found = json.loads(stored)
    tokens = {str(model): int(count) for model, count in (found["tokens"] or {}).items()}
    return {"minute": int(found["minute"]), "waiting": int(found["waiting"]), "tokens": tokens}


def _minute(minute: int, begin: dict[str, Any] | None, end: dict[str, Any] | None) -> Minute:
    """Between the samples at its beginning and at its end. A counter that has fallen began anew."""
    if begin is None or end is None:
        return Minute(minute * 60, end["waiting"] if end else None, None)
    tokens = {
        model: count - before if (before := begin["tokens"].get(model, count)) <= count else count
        for model, count in end["tokens"].items()
    }
    return Minute(minute * 60, end["waiting"], tokens)
