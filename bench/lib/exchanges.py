"""What an exchange costs the server when every item is a job of its own: fields of `make
bench-upkeep`.

A worker hands in 256 results and takes 256 items, again and again. Times are the server's own
processor time; the least of all exchanges is reported, because other load on the machine only ever
adds to it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import redis

from bench.lib.jobs import job_fields
from cli.valkey import Valkey
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.incarnation import Exchanged, Incarnation, Result
from common.store.jobs import JobStore, new_job_id
from common.store.packing import pack
from common.types import ItemState
from worker.models import open_model

ITEMS = 256
EXCHANGES = 12  # measured
SPEC = {
    "params": {"max_tokens": 50, "temperature": 0.8},
    "metadata": {"run": "bench-7"},
}


def submit(store: JobStore, tenant: str) -> None:
    """A job of one item."""
    stage = store.stage()
    stage.add({"prompt": "one of many prompts, and a job of its own"})
    stage.close()
    fields = job_fields("echo", "d", 1, SPEC, tenant=tenant, cost=60)
    store.attach(stage, fields, job_id=new_job_id())


def results(given: Exchanged) -> list[Result]:
    blob = pack(
        {"outputs": [{"text": "an answer of some words", "finish_reason": "stop"}], "seed": 7}
    )
    return [
        Result(run.job_id, run.first + i, run.attempt, ItemState.SUCCEEDED, 10, 20, blob)
        for run in given.runs
        for i in range(run.count)
    ]


def server_ms(client: redis.Redis) -> float:
    """Milliseconds of processor time the server has used."""
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"]) * 1e3


def least_cost(client: redis.Redis, tenants: int) -> float:
    """Milliseconds of the server for an exchange both ways, with one-item jobs of so many tenants
    waiting."""
    client.flushall()
    store, card = JobStore(client), open_model("echo", slots=ITEMS).card
    Fleet(client).publish(card, b"")
    for number in range(ITEMS * (EXCHANGES + 2)):
        submit(store, f"tenant{number % tenants}")
    worker = Incarnation(client, card, 600.0)
    worker.register({"host": "bench", "pid": "0", "started_at": "0"})
    given, costs = worker.exchange([], ITEMS), []
    for _ in range(EXCHANGES):
        answers, before = results(given), server_ms(client)
        given = worker.exchange(answers, ITEMS)
        costs.append(server_ms(client) - before)
        if len(answers) != ITEMS or given.refused:
            raise RuntimeError(
                f"an exchange gave {len(answers)} items and refused {len(given.refused)} results"
            )
    return min(costs)


def exchange_costs() -> dict[str, float]:
    """The fields, by name."""
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as folder:
        server = Valkey(Path(folder), durable=False)
        client = connect(server.start())
        try:
            return {
                "exchange_256_jobs_ms": round(least_cost(client, 1), 1),
                "exchange_1000_tenants_ms": round(least_cost(client, 1000), 1),
            }
        finally:
            server.stop()
