"""Kills workers in mid-generation and compares the texts with those of an uninterrupted run.

A real model in float32, half of the items greedy, half seeded, a third of them bound to a schema.
Each kill strikes while rows are generating and after a checkpoint of theirs was stored; the next
worker takes the items over and goes on from there. The last line is JSON: `kills`, `items`,
`differing` (texts that are not the same), `seconds`, `commit`, `device`. Exit status 1 if a text
differs or an item failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.lib.jobs import job_fields
from bench.lib.machine import ROOT, commit, device
from bench.lib.schema import schema
from cli.valkey import Valkey
from common.result_row import Row
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore, new_job_id

ITEMS = 6  # of a job
TOKENS = 220  # per item
MODEL = "smollm2-135m"
START_LIMIT = 180.0  # seconds until a worker has loaded its model
JOB_LIMIT = 900.0  # seconds a job may take with all its kills
SUBJECTS = (
    "the sea",
    "a robot",
    "Paris",
    "the moon",
    "an old clock",
    "a garden",
    "winter",
    "a train",
    "bees",
)


class Bench:
    """A durable server, one worker at a time, and the store."""

    def __init__(self, folder: Path, seed: int):
        self._folder = folder
        self._valkey = Valkey(folder)
        self._random = random.Random(seed)
        self._worker: subprocess.Popen[bytes] | None = None
        self.kills = 0

    def __enter__(self) -> Bench:
        self.url = self._valkey.start()
        self.store = JobStore(connect(self.url))
        self.start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker:
            self._worker.kill()
            self._worker.wait(10)
        self._valkey.stop()

    def start_worker(self) -> None:
        settings = {"MODEL": MODEL, "DEVICE": "cpu", "DTYPE": "float32", "SLOTS": str(ITEMS)}
        # By chance one item is in flight at many of the kills; poison is another test.
        settings["MAX_ATTEMPTS"] = "20"
        env = (
            os.environ
            | {"REDIS_URL": self.url}
            | {f"PROMPTMILL_{name}": value for name, value in settings.items()}
        )
        with (self._folder / "worker.log").open("ab") as log:
            command = [sys.executable, "-m", "celery", "-q", "-A", "worker.app", "worker"]
            self._worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        wait_for(
            lambda: self.store.client.zcard("pm:workers") > 0,
            START_LIMIT,
            "the worker did not come up",
        )

    def submit(self, job: int) -> str:
        stage = self.store.stage()
        for i in range(ITEMS):
            prompt = f"Write a long story about {SUBJECTS[(job + i) % len(SUBJECTS)]}, part {job}."
            params: dict[str, Any] = (
                {"temperature": 0.0}
                if i % 2
                else {"temperature": 0.9, "top_p": 0.95, "seed": 100 * job + i}
            )
            if i % 3 == 0:
                params |= {"output": {"json_schema": schema(i)}, "ignore_eos": False}
            stage.add({"prompt": prompt, "params": params})
        stage.close()
        spec = {"params": {"max_tokens": TOKENS, "ignore_eos": True}}
        digest = Fleet(self.store.client).model(MODEL).digest
        fields = job_fields(MODEL, digest, ITEMS, spec, cost=TOKENS)
        return self.store.attach(stage, fields, job_id=new_job_id()).job_id

    def run(self, job: int, kills: int) -> list[Row]:
        """The rows of a job during which at most so many workers were killed."""
        job_id = self.submit(job)
        end = time.monotonic() + JOB_LIMIT
        while self.store.job(job_id).status not in ("completed", "cancelled", "expired"):
            self._refuse_end()
            if time.monotonic() > end:
                raise TimeoutError(f"job {job_id} is not over: {self.store.job(job_id)}")
            if self.kills < kills and self._checkpointed():
                time.sleep(self._random.uniform(0.2, 2.5))
                self.kill()
            time.sleep(0.1)
        return self.store.rows(job_id, 0, ITEMS)

    def _checkpointed(self) -> bool:
        """The live worker has stored how far its rows are."""
        return any(
            self.store.client.exists(f"pm:grown:{name.decode()}") for name in self._incarnations()
        )

    def _refuse_end(self) -> None:
        """Nobody works on if the worker ended by itself."""
        assert self._worker
        if self._worker.poll() is not None:
            said = (self._folder / "worker.log").read_text()[-1000:]
            raise RuntimeError(f"the worker ended with {self._worker.returncode}: {said}")

    def _incarnations(self) -> list[bytes]:
        return list(self.store.client.zrange("pm:workers", 0, -1))

    def kill(self) -> None:
        assert self._worker
        self._worker.kill()
        self._worker.wait(10)
        self.kills += 1
        print(f"killed worker {self.kills}", flush=True)
        dead = self._incarnations()
        self.start_worker()
        wait_for(
            lambda: not set(dead) & set(self._incarnations()),
            START_LIMIT,
            "the dead worker was not reaped",
        )


def wait_for(condition: Callable[[], object], seconds: float, why: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(why)
        time.sleep(0.1)


def texts(rows: list[Row]) -> list[str]:
    return [
        row["outputs"][0]["text"] if row["outputs"] else f"{row['status']}: {row['error']}"
        for row in rows
    ]


def compare(kills: int, seed: int) -> dict[str, Any]:
    began = time.monotonic()
    differing, jobs = 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="promptmill-bench-") as folder,
        Bench(Path(folder), seed) as bench,
    ):
        while bench.kills < kills:
            struck = texts(bench.run(jobs, kills))
            calm = texts(bench.run(jobs, bench.kills))
            for number, (one, other) in enumerate(zip(struck, calm, strict=True)):
                if one != other:
                    differing += 1
                    print(f"job {jobs} item {number} differs:\n  {one!r}\n  {other!r}", flush=True)
            jobs += 1
            print(f"job {jobs}: {ITEMS} items compared, {bench.kills} kills so far", flush=True)
        killed = bench.kills
    return {
        "bench": "resume",
        "kills": killed,
        "items": jobs * ITEMS,
        "differing": differing,
        "seconds": round(time.monotonic() - began, 1),
        "commit": commit(),
        "device": device(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worker is ended then, too
    figures = compare(options.kills, options.seed)
    print(json.dumps(figures))
    return 1 if figures["differing"] else 0


if __name__ == "__main__":
    sys.exit(main())
