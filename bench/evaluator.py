"""What a whole evaluation costs the evaluator: a part of `make bench-evals`.

A job of 100,000 rows with references (those of `bench/evals.py`) lies in a Valkey of its own, and a
real evaluator scores it with all metrics that compare with references. The last line is JSON:

    seconds     from the start of the evaluation to its end, reading and storing included
    cpu_s       processor time of the evaluator, with its start
    start_mb    what the process holds before
    most_mb     most that it held
    stored_mb   bytes of the scores as stored
    wrong       aims that were missed: 90 s of processor time, 300 MB
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.evals import AIM_MEMORY, AIM_SECONDS, ROWS, chunks
from bench.lib.jobs import job_fields
from bench.lib.machine import ROOT, commit, device
from cli.valkey import Valkey
from common.rings import RingSender
from common.store.connection import connect
from common.store.evaluations import Asked, Evaluations
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation, Result, Run
from common.store.jobs import JobStore, new_job_id
from common.store.packing import pack
from common.types import ItemState, ModelCard
from evals.item import Item
from evals.registry import METRICS

SLOTS = 256
LIMIT = 1800.0  # seconds


def make_job(url: str, rows: int) -> str:
    """A job that is over."""
    store = JobStore(connect(url))
    stage = store.stage()
    for item in itertools.chain.from_iterable(chunks(rows, 1)):
        stage.add({"prompt": "a prompt"}, {"reference": list(item.references)})
    stage.close()
    fields = job_fields("m", "d", rows, {"params": {}})
    job = store.attach(stage, fields, job_id=new_job_id()).job_id
    run_job(url, itertools.chain.from_iterable(chunks(rows, 1)))
    return job


def run_job(url: str, items: Iterator[Item]) -> None:
    """Hand in the outputs of these items, in their order."""
    client = connect(url)
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


def evaluated(url: str, job: str) -> dict[str, float]:
    """Have a real evaluator score the job."""
    client = connect(url)
    evaluations = Evaluations(client)
    metrics = [metric.name for metric in METRICS.values() if metric.needs == "references"]
    env = dict(os.environ) | {"REDIS_URL": url, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cli.main", "evaluator"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(5)  # it has started, and waits
            start = most_held(process.pid)
            made = evaluations.create(job, "t", Asked(list(metrics), []))
            RingSender(url).wake_evaluator()
            end = time.monotonic() + LIMIT
            while not (found := evaluations.get(made.id)).finished_at:
                if time.monotonic() > end or process.poll() is not None:
                    raise SystemExit("the evaluation did not end")
                time.sleep(0.1)
            cpu = psutil.Process(process.pid).cpu_times()
            most = most_held(process.pid)
        finally:
            process.terminate()
    if found.error or found.started_at is None:
        raise SystemExit(f"the evaluation failed: {found.error}")
    blobs = client.hvals(f"pm:eval:{made.id}:scores")
    return {
        "seconds": round((found.finished_at - found.started_at) / 1000, 1),
        "cpu_s": round(cpu.user + cpu.system, 1),
        "start_mb": round(start),
        "most_mb": round(most),
        "stored_mb": round(sum(map(len, blobs)) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the job")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        server = Valkey(Path(folder), durable=False)
        try:
            url = server.start()
            found = evaluated(url, make_job(url, rows))
        finally:
            server.stop()
    aims = (("cpu_s", AIM_SECONDS), ("most_mb", AIM_MEMORY))
    told = {
        "bench": "evaluator",
        "rows": rows,
        **found,
        "wrong": [f"{name} {found[name]:.0f}" for name, aim in aims if found[name] > aim],
        "device": device(),
        "commit": commit(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
