"""`/metrics` for Prometheus: what waits, who works on it, and what all processes counted
(`common/store/metrics.py`).

Read from Redis at each scrape, so every process of the web tier says the same and none has to be
asked in particular.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from common.errors import Unavailable
from common.store.metrics import COUNTERS, HISTOGRAMS, SUM, totals
from common.types import ENDS
from web.services.services import Services

MEDIA_TYPES = ("text/plain", "application/openmetrics-text")  # by what the scraper accepts
FLUSH = 1.0  # seconds between two times that a process adds what it counted to the store

# Gauges by model: name -> what it is, and what one live worker adds to it.
OF_WORKERS: dict[str, tuple[str, Callable[[dict[str, Any]], int]]] = {
    "workers": ("Live workers.", lambda _: 1),
    "slots": ("Sequences that live workers can run at once.", lambda worker: worker["slots"]),
    "slots_free": ("Of those, free ones.", lambda worker: worker["room"]),
    "items_running": ("Items that live workers hold.", lambda worker: worker["held"]),
}

log = logging.getLogger(__name__)


def render(services: Services, accept: str) -> tuple[bytes, str]:
    """One scrape, and its content type; `accept` is the request's header."""
    services.tally.flush(services.redis)  # a process tells at least what it counted itself
    registry = CollectorRegistry()
    registry.register(_Store(services))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Flusher:
    """Adds what this process counted to the store, once a second. `start` runs it on a thread."""

    def __init__(self, services: Services):
        self._services = services

    def start(self) -> None:
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH)
            try:
                self._services.tally.flush(self._services.redis)
            except Unavailable as error:
                log.info("metrics wait: %s", error)
            except Exception:  # one bad flush must not end them all
                log.exception("metrics could not be kept; trying on")


class _Store(Collector):
    """What the store knows, as metric families. A model without workers is told with 0, which is
    what somebody wants to be woken by."""

    def __init__(self, services: Services):
        self._fleet = services.fleet
        self._redis = services.redis

    def collect(self) -> Iterable[Metric]:
        waiting, workers = self._fleet.waiting(), self._fleet.workers()
        models = sorted(
            {card.id for card in self._fleet.models()} | {worker["model"] for worker in workers}
        )
        yield _gauge(
            "items_waiting", "Items that wait for a slot, of all tenants.", waiting["items"]
        )
        yield _gauge(
            "tokens_waiting",
            "Tokens that waiting items may need, prompts included.",
            waiting["tokens"],
        )
        for name, (about, of_one) in OF_WORKERS.items():
            family = _gauge(name, about)
            for model in models:
                family.add_metric(
                    [model], sum(of_one(worker) for worker in workers if worker["model"] == model)
                )
            yield family
        found = totals(self._redis)
        for model in models:
            for outcome in sorted(ENDS):
                found.setdefault(("items", model, outcome), 0)
        yield from _counters(found)
        yield from _histograms(found)


def _gauge(name: str, about: str, value: float | None = None) -> GaugeMetricFamily:
    """One figure, or without a value a family by model."""
    return GaugeMetricFamily(
        f"promptmill_{name}", about, value, labels=None if value is not None else ["model"]
    )


def _counters(found: dict[tuple[str, ...], int]) -> Iterator[Metric]:
    for name, metric in COUNTERS.items():
        family = CounterMetricFamily(f"promptmill_{name}", metric.about, labels=metric.labels)
        for (_, *labels), number in sorted(_of(name, found).items()):
            family.add_metric(labels, number)
        yield family


def _histograms(found: dict[tuple[str, ...], int]) -> Iterator[Metric]:
    for name, metric in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"promptmill_{name}", metric.about, labels=metric.labels)
        own = _of(name, found)
        bounds = [*map(str, metric.buckets), "+Inf"]
        for label in sorted({label for _, label, _ in own}):
            counts = accumulate(
                own.get((name, label, str(place)), 0) for place in range(len(bounds))
            )
            family.add_metric(
                [label],
                list(zip(bounds, counts, strict=True)),
                own.get((name, label, SUM), 0) / 1e6,
            )
        yield family


def _of(name: str, found: dict[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    return {parts: number for parts, number in found.items() if parts[0] == name}
