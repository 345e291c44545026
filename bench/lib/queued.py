"""The whole queue with vLLM as its engine: runs a job of texts over HTTP, and follows its rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.lib.mixes import Texts
from bench.lib.peers import vllm_environment
from bench.lib.stack import Stack, running_stack

LIMIT = 900.0  # seconds for a job


class Queued:
    """A running stack whose worker has vLLM; `dtype` is what its card says."""

    def __init__(self, stack: Stack):
        self._stack = stack
        _, models = stack.request("GET", "/v1/models")
        card = models["data"][0]["card"]
        if card["engine"] != "vllm":
            raise RuntimeError(f"the worker runs the engine {card['engine']}")
        self.dtype = str(card["dtype"])

    @classmethod
    @contextmanager
    def running(cls, python: str, model: Path, *, slots: int, context: int) -> Iterator[Queued]:
        with running_stack(
            slots,
            worker_python=python,
            worker_env=vllm_environment(python),
            model=model,
            engine="vllm",
            context=context,
            interactive_slots=0,
        ) as stack:
            yield cls(stack)

    def run(self, texts: Texts, *, stream: bool) -> float:
        """Seconds from the submit until all results were fetched; with `stream` each row's text is
        read while it is written."""
        items = [{"prompt": text, "stream": stream} for text in texts.prompts]
        params = {"temperature": 0, "max_tokens": texts.new_tokens, "ignore_eos": True}
        body = {"model": self._stack.model, "items": items, "params": params}
        began = time.perf_counter()
        job_id = self._stack.submit(json.dumps(body).encode())
        if stream:
            self._follow(job_id, len(items))
        self._stack.wait(job_id, LIMIT)
        if self._stack.results(job_id) != len(items):
            raise RuntimeError(f"{job_id} has not all of its results")
        took = time.perf_counter() - began
        self._stack.delete(job_id)
        return took

    def _follow(self, job_id: str, rows: int) -> None:
        """Read the job's events until its last.

        Raises:
            RuntimeError: not every row was streamed.
        """
        streamed: set[int] = set()
        for name, data in self._stack.events(job_id):
            if name == "item.delta":
                streamed.add(data["index"])
            elif name == "job.finished":
                break
        if len(streamed) != rows:
            raise RuntimeError(f"{len(streamed)} of {rows} rows were streamed")
