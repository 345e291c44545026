"""Real workers whose vLLM computes in two processes of its own, and jobs for them."""

from __future__ import annotations

from pathlib import Path

import psutil

from bench.lib.jobs import job_fields
from common.rings import RingSender
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore, new_job_id
from tests.support.parts import WORKER, Part
from tests.support.waiting import wait_until

START_LIMIT = 400.0  # seconds: three processes import torch on a busy machine
SETTINGS: dict[str, object] = {
    "engine": "vllm",
    "tensor_parallel": 2,
    "vllm_args": '{"enforce_eager": true}',
    "device": "cpu",
    "dtype": "float32",
    "slots": 4,
    "interactive_slots": 0,
    "heartbeat": 0.3,
    "lease": 1,
    "grace": 300,
    "wedge_limit": 10,
}


class TwoProcessWorker(Part):
    """A worker that serves the model in `folder`, once it is ready; `words` are its command."""

    def __init__(self, redis_url: str, folder: Path, log: Path, words: tuple[str, ...] = WORKER):
        super().__init__(words, redis_url, log, model=folder, **SETTINGS)
        self.name = folder.name

    def wait_until_it_serves(self) -> None:
        wait_until(
            lambda: f"serving {self.name}" in self.log or not self.running,
            lambda: self.log,
            START_LIMIT,
        )
        assert self.running, self.log

    def family(self) -> list[psutil.Process]:
        """All processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def computing(self) -> list[psutil.Process]:
        """Those in which vLLM computes."""
        return [each for each in self.family() if "Worker_TP" in "".join(each.cmdline())]


def shared_memory(processes: list[psutil.Process]) -> set[Path]:
    """The memory that these processes share, by its names, those that are removed already left
    out."""
    found = set()
    for process in processes:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            _, shared, name = line.partition("/dev/shm/")
            found.add(Path(shared + name))
    return {path for path in found if path.exists()} - {Path()}


class Jobs:
    """Submits to the workers of a model, and looks what became of it."""

    def __init__(self, url: str, model: str):
        self._client = connect(url)
        self._store = JobStore(self._client)
        self._model = model
        self._rings = RingSender(url)

    def submit(self, items: int, max_tokens: int) -> str:
        card = Fleet(self._client).model(self._model)
        stage = self._store.stage()
        for i in range(items):
            stage.add({"prompt": f"{i}", "params": {"ignore_eos": True}})
        stage.close()
        spec = {"params": {"max_tokens": max_tokens, "temperature": 0.0}}
        fields = job_fields(self._model, card.digest, items, spec)
        attached = self._store.attach(stage, fields, job_id=new_job_id())
        self._rings.send(self._model, attached.rings)
        return attached.job_id

    def count(self, job_id: str, state: str) -> int:
        return int(getattr(self._store.job(job_id), state))

    def wait_for(self, job_id: str, state: str, count: int, limit: float = 120.0) -> None:
        wait_until(
            lambda: self.count(job_id, state) == count, lambda: self._store.job(job_id), limit
        )

    def attempts(self, job_id: str) -> list[int]:
        """How many attempts each item took, all of which have a text."""
        rows = self._store.rows(job_id, 0, self.count(job_id, "total"))
        assert all(row["outputs"][0]["text"] for row in rows)
        return [row["attempts"] for row in rows]
