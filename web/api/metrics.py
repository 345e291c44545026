"""`/metrics` for Prometheus: the queue, the workers, and what all processes counted
(`common/store/metrics.py`).

A collector of prometheus_client reads everything from Redis at each scrape, so that every process
of the web tier gives the same answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

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
from common.store.evaluation_work import EvaluationWork
from common.store.fleet import LiveWorker
from common.store.metrics import COUNTERS, HISTOGRAMS, SUM, totals
from common.types import ENDS
from web.services.services import Services

MEDIA_TYPES = (
    "text/plain",
    "application/openmetrics-text",
)  # by the request's Accept header
FLUSH = 1.0  # seconds between two writes of a process's counts to the store

# Gauges by model: name -> help text, and what one live worker adds to the value.
OF_WORKERS: dict[str, tuple[str, Callable[[LiveWorker], int]]] = {
    "workers": ("Live workers.", lambda _: 1),
    "slots": ("Sequences that live workers can run at once.", lambda worker: worker.slots),
    "slots_free": ("Of those, free ones.", lambda worker: worker.room),
    "items_running": ("Items that live workers hold.", lambda worker: worker.held),
}

log = logging.getLogger(__name__)


def render(services: Services, accept: str) -> tuple[bytes, str]:
    """The body of one scrape, and its content type; `accept` is the header of the request."""
    services.tally.flush(services.redis)  # those of other processes may come a second later
    registry = CollectorRegistry()
    registry.register(_StoreCollector(services))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Flusher:
    """Adds the counts of this process to the store, once a second. `start` runs it on a thread."""

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
                log.info("metrics are written later: %s", error)
            except Exception:  # the thread must go on after an unexpected error
                log.exception("metrics could not be written to the store; trying again")


class _StoreCollector(Collector):
    """Metric families made of what is in the store. A model without workers has gauges of 0, so
    that an alert on it works."""

    def __init__(self, services: Services):
        self._fleet = services.fleet
        self._redis = services.redis
        self._evaluations = EvaluationWork(services.redis)

    def collect(self) -> Iterable[Metric]:
        waiting, workers = self._fleet.waiting(), self._fleet.workers()
        models = sorted(
            {card.id for card in self._fleet.models()} | {worker.model for worker in workers}
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
                    [model], sum(of_one(worker) for worker in workers if worker.model == model)
                )
            yield family
        unfinished = self._evaluations.unfinished()
        yield _gauge(
            "evaluations_waiting", "Evaluations that wait for an evaluator.", unfinished.waiting
        )
        yield _gauge("evaluations_running", "Evaluations that evaluators hold.", unfinished.running)
        found = totals(self._redis)
        for outcome in ("done", "failed"):
            found.setdefault(("evaluations", outcome), 0)
        for model in models:
            for outcome in sorted(ENDS):
                found.setdefault(("items", model, outcome), 0)
        yield from _counters(found)
        yield from _histograms(found)


def _gauge(name: str, about: str, value: float | None = None) -> GaugeMetricFamily:
    """A gauge with one value, or without a value a family with one for each model."""
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
