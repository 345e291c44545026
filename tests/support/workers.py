"""Real Celery workers with the echo engine, and jobs for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.lib.jobs import job_fields
from common.rings import RingSender
from common.store.connection import connect
from common.store.jobs import JobStore, new_job_id
from tests.support.parts import Part
from tests.support.waiting import wait_until
from worker.models import open_model

DIGEST = open_model("echo").card.digest  # workers run no items that were made for another model


class Workers:
    """Starts workers and ends every one that is left."""

    def __init__(self, url: str, folder: Path):
        self.url = url
        self._folder = folder
        self._all: list[Part] = []

    def start(
        self, wait: bool = True, app: str = "worker.app", **settings: object
    ) -> subprocess.Popen[bytes]:
        """A worker, by default one that has published its card."""
        settings = {"model": "echo", "interactive_slots": 0} | settings
        number = len(self._all)
        words = ("celery", "-q", "-A", app, "worker", "-n", f"w{number}@%h")
        part = Part(words, self.url, self._folder / f"worker-{number}.log", **settings)
        self._all.append(part)
        if wait:
            part.wait_until_said("serving echo")
        return part.process

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return next(part.log for part in self._all if part.process is process)

    def stop_all(self) -> None:
        for part in self._all:
            part.kill()


class Queue:
    """Submits to the workers of one model and watches. `adapter` is what the model has."""

    def __init__(
        self, url: str, model: str = "echo", digest: str = DIGEST, adapter: str | None = None
    ):
        self.store = JobStore(connect(url))
        self._model, self._digest = model, digest
        self._begins = f"{adapter}:" if adapter else ""
        self._ring_sender = RingSender(url)

    def submit(
        self,
        items: int,
        max_tokens: int = 10,
        *,
        special: dict[int, str] | None = None,
        deadline: int = 0,
        **fields: object,
    ) -> str:
        """A job of so many prompts; `special` are words that some of them have at their end.
        `deadline` is in ms."""
        stage = self.store.stage()
        for i in range(items):
            words = (special or {}).get(i, "j")
            stage.add({"prompt": f"a{i} b c d e f g h i {words}", "params": {"ignore_eos": True}})
        stage.close()
        spec = {"params": {"max_tokens": max_tokens, "temperature": 0.0}}
        hash_fields = job_fields(self._model, self._digest, items, spec, **{"cost": 20, **fields})
        attached = self.store.attach(stage, hash_fields, job_id=new_job_id(), deadline=deadline)
        self.ring(attached.rings)
        return attached.job_id

    def ring(self, count: int) -> None:
        self._ring_sender.send(self._model, count)

    def count(self, job_id: str, state: str) -> int:
        return int(getattr(self.store.job(job_id), state))

    def wait_status(self, job_id: str, status: str, seconds: float = 30.0) -> None:
        wait_until(
            lambda: self.store.job(job_id).status == status,
            lambda: self.store.job(job_id),
            seconds,
        )

    def check_all_succeeded_once(self, job_id: str) -> list[int]:
        """Every item has one result, which is its own; answers the attempts each took."""
        total, begins = self.count(job_id, "total"), self._begins
        rows = self.store.rows(job_id, 0, total)
        assert [row["status"] for row in rows] == ["succeeded"] * total
        for i, row in enumerate(rows):
            assert row["outputs"][0]["text"].startswith(f"{begins}a{i} {begins}b"), row
        assert sorted(self.store.finished_after(job_id, 0, 2 * total)) == list(range(total)), (
            "each result is told once"
        )
        return [row["attempts"] for row in rows]
