"""Counters and histograms of every process, added up in one hash of the store (`metrics` in
`docs/redis-keys.md`).

A process counts in memory and adds its counts to the hash once a second, in one round trip; scripts
count what they move themselves. So `/metrics` says the same on every process and machine, counts
survive a process, and processes share no folder, as prometheus_client's own mode for several
processes requires. No tenant is a label: there may be many, and a reader of the metrics would learn
their names.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass

import redis

from common.store import keys
from common.store.connection import redis_errors

# Between a metric's name and its labels' values in a field; no name of a model has it.
SEPARATOR = "\x1f"
SUM = "sum"  # the field of a histogram's sum, in microseconds


@dataclass(frozen=True)
class Metric:
    about: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()  # upper bounds in seconds; of histograms only


COUNTERS = {
    "requests": Metric("Requests answered by the web tier.", ("route", "method", "status")),
    "items": Metric("Items that came to their end.", ("model", "outcome")),
    "prompt_tokens": Metric("Tokens of the prompts of items that ran to their end.", ("model",)),
    "generated_tokens": Metric("Tokens generated for items that ran to their end.", ("model",)),
    "evaluations": Metric("Evaluations that came to their end.", ("outcome",)),
    "deliveries": Metric(
        "Tries to deliver a webhook; `retried` failed and are tried again.", ("outcome",)
    ),
}
HISTOGRAMS = {
    "time_to_first_token_seconds": Metric(
        "From a streamed chat's or completion's request to its first token.",
        ("model",),
        (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    ),
    "step_seconds": Metric(
        "Steps of the engine with continuous batching.",
        ("model",),
        (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
    ),
    "queue_wait_seconds": Metric(
        "From a job's submit to the first time that a worker took an item of it.",
        ("model",),
        (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
    ),
}


class Tally:
    """What one process counted since the last `flush`. Safe for threads."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def count(self, name: str, *labels: str) -> None:
        self._add({_field(name, *labels): 1})

    def observe(self, name: str, label: str, seconds: float, times: int = 1) -> None:
        """So many observations of a histogram."""
        bucket = bisect_left(HISTOGRAMS[name].buckets, seconds)
        self._add(
            {
                _field(name, label, str(bucket)): times,
                _field(name, label, SUM): round(seconds * 1e6) * times,
            }
        )

    def flush(self, client: redis.Redis) -> None:
        """Add everything to the store's hash.

        Raises:
            Unavailable: the server is away; what was counted is kept for the next time.
        """
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        pipe = client.pipeline(transaction=True)  # all or nothing
        for field, number in counts.items():
            pipe.hincrby(keys.METRICS, field, number)
        try:
            with redis_errors():
                pipe.execute()
        except Exception:
            self._add(counts)
            raise

    def _add(self, counts: dict[str, int]) -> None:
        with self._lock:
            for field, number in counts.items():
                self._counts[field] = self._counts.get(field, 0) + number


def totals(client: redis.Redis) -> dict[tuple[str, ...], int]:
    """What all processes counted: (name, *labels) -> number, of histograms (name, label, bucket or
    `sum`)."""
    with redis_errors():
        raw = client.hgetall(keys.METRICS)
    return {tuple(field.decode().split(SEPARATOR)): int(number) for field, number in raw.items()}


def _field(*parts: str) -> str:
    return SEPARATOR.join(parts)
