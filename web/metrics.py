"""`/metrics` in Prometheus' text format: what waits, and who works on it.

Read from Redis at each scrape, so every process of the web tier says the same and none has to be asked in particular.
A client library would count within a process, which is what is not wanted here; the format is a line a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from web.services import Services

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Gauges by model: name -> what it is, and what one live worker adds to it.
OF_WORKERS: dict[str, tuple[str, Callable[[dict[str, Any]], int]]] = {
    "workers": ("Live workers.", lambda _: 1),
    "slots": ("Sequences that live workers can run at once.", lambda worker: worker["slots"]),
    "slots_free": ("Of those, free ones.", lambda worker: worker["room"]),
    "items_running": ("Items that live workers hold.", lambda worker: worker["held"]),
}


def render(services: Services) -> str:
    """One scrape. A model without workers is told with 0, which is what somebody wants to be woken by."""
    waiting, workers = services.fleet.waiting(), services.fleet.workers()
    names = sorted({card.id for card in services.fleet.models()} | {worker["model"] for worker in workers})
    lines = [
        *_gauge("items_waiting", "Items that wait for a slot, of all tenants.", {"": waiting["items"]}),
        *_gauge("tokens_waiting", "Tokens that waiting items may need, prompts included.", {"": waiting["tokens"]}),
    ]
    for name, (about, of_one) in OF_WORKERS.items():
        sums = {model: sum(of_one(worker) for worker in workers if worker["model"] == model) for model in names}
        lines += _gauge(name, about, {f'{{model="{_escaped(model)}"}}': value for model, value in sums.items()})
    return "\n".join(lines) + "\n"


def _gauge(name: str, about: str, values: dict[str, int]) -> Iterator[str]:
    """`values` by labels as they are written."""
    yield f"# HELP promptmill_{name} {about}"
    yield f"# TYPE promptmill_{name} gauge"
    for labels, value in values.items():
        yield f"promptmill_{name}{labels} {value}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
