"""Jobs whose output formats take the web tier as much time as they can, and honest ones: cases of
`make stall`. Their model is a card without a worker, since the echo engine has no structured
output."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from bench.lib.background import in_background
from bench.lib.hostile_requests import JOBS, Case
from bench.lib.noisy_tenants import ask
from bench.lib.stack import Stack
from common.store.fleet import Fleet
from common.types import ModelCard

MODEL = "bound"
SENDERS = 4
SECONDS = 15.0


def publish_card(stack: Stack) -> None:
    """Make the model known that the cases name."""
    about = {
        "id": MODEL,
        "digest": "bench",
        "engine": "native",
        "device": "cpu",
        "dtype": "float32",
        "context": 8192,
        "slots": 8,
        "tokenizer": "words",
        "created": 0,
        "features": ["structured_output"],
    }
    Fleet(stack.client).publish(ModelCard.model_validate(about), b"")


def job(outputs: Iterable[Any]) -> bytes:
    """A job of an item for each of these formats."""
    items = [{"prompt": "a", "params": {"output": output}} for output in outputs]
    return json.dumps({"model": MODEL, "items": items}).encode()


def costly(name: str) -> Any:
    """One that takes as long to check as any that is not refused at once: a third of a second."""
    fields = [f"{name}{at}" for at in range(900)]
    kind = {"type": "string", "format": "date-time"}
    schema = {"type": "object", "properties": dict.fromkeys(fields, kind), "required": fields}
    return {"json_schema": schema}


def record(name: str, fields: int) -> Any:
    """An object of so many fields, of several kinds."""
    kinds = [
        {"type": "string", "maxLength": 100},
        {"type": "integer", "minimum": 0, "maximum": 1000},
        {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 5},
        {"type": "string", "format": "date-time"},
    ]
    properties = {f"{name} {at}": kinds[at % len(kinds)] for at in range(fields)}
    return {"json_schema": {"type": "object", "properties": properties}}


FORMATS = (
    Case(
        "100 costly formats",
        JOBS,
        lambda: job(costly(f"a{at}x") for at in range(100)),
        queued=True,
    ),
    Case(
        "1,001 formats of 13 KB",
        JOBS,
        lambda: job(record(f"field {at}", 200) for at in range(1001)),
        queued=True,
    ),
    Case(
        "20 formats with too many fields",
        JOBS,
        lambda: job(record(f"f{at}", 1000) for at in range(20)),
    ),
    Case(
        "honest: 1,000 formats of 10 fields",
        JOBS,
        lambda: job(record(f"field {at}", 10) for at in range(1000)),
        honest=True,
    ),
)


def chats_beside_formats(stack: Stack, other: str) -> float:
    """The 99th percentile of another tenant's chats, in seconds, while one submits costly formats
    again and again."""
    publish_card(stack)
    body = json.dumps(
        {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    ).encode()

    def submit(ended: threading.Event) -> None:
        at = 0
        while not ended.is_set():
            at += 1
            name = f"{threading.get_ident()}x{at}y"
            ask(stack, "POST", JOBS, stack.key, job([costly(name)]))

    waited = []
    with ExitStack() as senders:
        for _ in range(SENDERS):
            senders.enter_context(in_background(submit))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            status, _ = ask(stack, "POST", "/v1/chat/completions", other, body)
            waited.append(time.monotonic() - began + (60.0 if status != 200 else 0.0))
    waited.sort()
    return waited[int(len(waited) * 0.99)]
