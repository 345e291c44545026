"""What a whole evaluation costs the evaluator, and what it costs the web tier: a part of
`make bench-evals`.

A job of 100,000 rows with references (those of `bench/evals.py`) lies in the store, and a real
evaluator scores it with all metrics that compare with references. Valkey syncs every write; one web
process, one echo worker and the evaluator run, all of them as they are deployed. The last line is
JSON:

    seconds     from the start of the evaluation to its end, reading and storing included
    cpu_s       processor time of the evaluator, with its start
    start_mb    what the process holds before
    most_mb     most that it held
    stored_mb   bytes of the scores as stored
    web_p99_ms  99th percentiles of `GET /healthz`, `GET /v1/jobs?limit=20` and a submit of one
                prompt, sent in turn over one connection: `before`, for 20 s while the evaluator has
                nothing to do, and `during` the evaluation. The same processes run both times. On
                two cores the evaluator takes one of them during the evaluation, and the web tier,
                Valkey, the worker and this program share the other.
    web_times   how often each of these was sent, before and during
    page_ms     by the clock, over loopback: pages of the job with the scores of all its items, for
                a browser that is logged in, after the evaluation; medians of five looks
    wrong       aims that were missed: 90 s of processor time, 300 MB, 300 ms a page
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import redis

from bench.evals import AIM_MEMORY, AIM_SECONDS, ROWS, chunks
from bench.lib.jobs import job_fields
from bench.lib.judged_pages import page_ms
from bench.lib.machine import commit, device
from bench.lib.stack import Stack, running_stack
from bench.lib.web_waits import p99_ms, web_waits
from common.store import keys
from common.store.evaluations import Evaluation, Evaluations
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation, Result, Run
from common.store.jobs import JobStore, new_job_id
from common.store.packing import pack
from common.types import ItemState, JsonObject, ModelCard
from evals.item import Item
from evals.registry import METRICS

SLOTS = 256
TENANT = "bench"  # whose key a stack has
BEFORE = 20.0  # seconds
LIMIT = 1800.0  # seconds
AIM_PAGE = 300.0  # milliseconds


def make_job(client: redis.Redis, rows: int) -> str:
    """A job that is over."""
    store = JobStore(client)
    stage = store.stage()
    for item in itertools.chain.from_iterable(chunks(rows, 1)):
        stage.add({"prompt": "a prompt"}, {"reference": list(item.references)})
    stage.close()
    spec: JsonObject = {"params": {}, "metadata": {}, "webhook": None}
    fields = job_fields("m", "d", rows, spec, tenant=TENANT)
    job = store.attach(stage, fields, job_id=new_job_id()).job_id
    run_job(client, itertools.chain.from_iterable(chunks(rows, 1)))
    return job


def run_job(client: redis.Redis, items: Iterator[Item]) -> None:
    """Hand in the outputs of these items, in their order."""
    card = ModelCard(
        id="m", digest="d", engine="echo", device="cpu", dtype="float32", context=9999,
        slots=SLOTS, tokenizer="none", created=0,
    )  # fmt: skip
    Fleet(client).publish(card, b"")
    worker = Incarnation(client, card, 60.0)
    worker.register({"host": "h", "pid": "1", "started_at": "0"})
    handed: list[Result] = []
    while (given := worker.exchange(handed, SLOTS)).runs:
        handed = [
            result(run, run.first + i, next(items)) for run in given.runs for i in range(run.count)
        ]
    worker.release()


def result(run: Run, index: int, item: Item) -> Result:
    text = item.outputs[0].text
    blob = pack({"outputs": [{"text": text, "finish_reason": "stop", "token_count": 40}]})
    return Result(run.job_id, index, run.attempt, ItemState.SUCCEEDED, 10, 40, blob)


def most_held(pid: int) -> float:
    """MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def evaluated(stack: Stack, job: str) -> dict[str, Any]:
    """Have the evaluator score the job, while requests are sent to the web tier."""
    pid = stack.pids()["evaluator"]
    with web_waits(stack) as before:
        time.sleep(BEFORE)
    start = most_held(pid)
    with web_waits(stack) as during:
        done = evaluate(stack, job)
    cpu = psutil.Process(pid).cpu_times()
    blobs = stack.client.hvals(keys.evaluation(done.id, "scores"))
    waits = {"before": before, "during": during}
    return {
        "seconds": round(((done.finished_at or 0) - (done.started_at or 0)) / 1000, 1),
        "cpu_s": round(cpu.user + cpu.system, 1),
        "start_mb": round(start),
        "most_mb": round(most_held(pid)),
        "stored_mb": round(sum(map(len, blobs)) / 1e6, 1),
        "web_p99_ms": {when: p99_ms(each) for when, each in waits.items()},
        "web_times": {when: min(map(len, each.values())) for when, each in waits.items()},
    }


def evaluate(stack: Stack, job: str) -> Evaluation:
    """The evaluation once it is done. It is waited for in the store, at no cost to the web tier."""
    names = [metric.name for metric in METRICS.values() if metric.needs == "references"]
    path, body = f"/v1/jobs/{job}/evaluations", json.dumps({"metrics": names}).encode()
    status, made = stack.request("POST", path, body)
    if status != 202:
        raise SystemExit(f"the evaluation was answered {status}: {made}")
    evaluations, end = Evaluations(stack.client), time.monotonic() + LIMIT
    while not (found := evaluations.get(made["id"])).finished_at:
        if time.monotonic() > end:
            raise SystemExit("the evaluation did not end")
        time.sleep(0.1)
    if found.error:
        raise SystemExit(f"the evaluation failed: {found.error}")
    return found


def missed(found: dict[str, Any]) -> list[str]:
    """The aims that were missed, with what was found."""
    aims = (("cpu_s", AIM_SECONDS), ("most_mb", AIM_MEMORY))
    return [
        *(f"{name} {found[name]:.0f}" for name, aim in aims if found[name] > aim),
        *(f"page_ms {name} {ms}" for name, ms in found["page_ms"].items() if ms > AIM_PAGE),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the job")
    rows = parser.parse_args().rows
    with running_stack(64, ("serve", "worker", "evaluator")) as stack:
        job = make_job(stack.client, rows)
        found = evaluated(stack, job)
        found["page_ms"] = page_ms(stack, TENANT, job, rows)
    told = {
        "bench": "evaluator",
        "rows": rows,
        **found,
        "wrong": missed(found),
        "device": device(),
        "commit": commit(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
