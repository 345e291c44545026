"""How long the web tier's common requests take while something else goes on."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.lib.background import in_background
from bench.lib.stack import Stack

PAUSE = 0.01  # seconds between two requests
SUBMIT = json.dumps({"model": "echo", "prompts": ["one two three"]})
REQUESTS = {
    "GET /healthz": ("GET", "/healthz", None),
    "GET /v1/jobs?limit=20": ("GET", "/v1/jobs?limit=20", None),
    "POST /v1/jobs": ("POST", "/v1/jobs", SUBMIT.encode()),
}
Waits = dict[str, list[float]]


@contextmanager
def web_waits(stack: Stack) -> Iterator[Waits]:
    """Seconds that each kind of request took while the block ran; 60 more for one that failed. They
    are sent in turn, one after the other, over one connection; a submit is of one prompt."""
    found: Waits = {name: [] for name in REQUESTS}

    def ask(ended: threading.Event) -> None:
        connection = stack.connect()
        while not ended.wait(PAUSE):
            for name, (method, path, body) in REQUESTS.items():
                began = time.perf_counter()
                status, _ = stack.request(method, path, body, connection=connection)
                failed = status not in (200, 202)
                found[name].append(time.perf_counter() - began + (60.0 if failed else 0.0))
        connection.close()

    with in_background(ask):
        yield found


def p99_ms(waits: Waits) -> dict[str, float]:
    return {
        name: round(statistics.quantiles(each, n=100, method="inclusive")[98] * 1000, 1)
        for name, each in waits.items()
    }
