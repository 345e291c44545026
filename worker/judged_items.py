"""Reads a job's items as metrics take them: what was generated for each, and its references.

A few are read at a time, so that memory depends neither on how many items a job has nor on how
large they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from common.result_row import RowOutput
from common.store.evaluation_work import Claimed
from common.store.evaluations import MOST_IN_CHUNK, STEP, Evaluations
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import parse_result
from common.types import ItemState
from evals.item import Item, Output
from worker.judged_references import JudgedReferences

MOST_READ = 1 << 22  # bytes of results as stored, read at once, about
MOST_AT_ONCE = 64  # items read at once, a multiple of STEP
MOST_CHARACTERS = 1 << 21  # of outputs and references; a chunk with as many ends
SUCCEEDED = ord(ItemState.SUCCEEDED.byte)

log = logging.getLogger(__name__)


class JudgedItems:
    """The items of a job that is over, with the references that an evaluation takes."""

    def __init__(self, store: JobStore, evaluations: Evaluations, claimed: Claimed, job: Job):
        self._store = store
        self._job = job
        self._states = store.states(job.id)
        self._references = JudgedReferences(
            store, evaluations.references, job.id, claimed.id, claimed.referenced
        )
        steps = MOST_READ // max(1, job.item_bytes) // STEP
        self._at_once = STEP * min(max(1, steps), MOST_AT_ONCE // STEP)

    def chunk(self, first: int) -> list[Item]:
        """Items from `first` on whose scores are stored together; those that are left at the end.

        Raises:
            Unreadable: what is kept beside the items is damaged.
        """
        items: list[Item] = []
        characters = 0
        last = min(first + MOST_IN_CHUNK, self._job.total)
        while first + len(items) < last and characters < MOST_CHARACTERS:
            begin = first + len(items)
            for item in self._read(begin, min(self._at_once, last - begin)):
                items.append(item)
                characters += _characters(item)
                if characters >= MOST_CHARACTERS and len(items) % STEP == 0:
                    break
        return items

    def references(self) -> Iterator[str]:
        """The references of all items."""
        for first in range(0, self._job.total, self._at_once):
            for texts in self._references.read(first, min(self._at_once, self._job.total - first)):
                yield from texts

    def _read(self, first: int, count: int) -> Iterator[Item]:
        """One after the other: a small result may hold a long text, compressed."""
        blobs = self._store.result_blobs(self._job.id, range(first, first + count))
        references = self._references.read(first, count)
        for place, (blob, texts) in enumerate(zip(blobs, references, strict=True)):
            yield Item(self._outputs(first + place, blob), texts)

    def _outputs(self, index: int, blob: bytes | None) -> tuple[Output, ...]:
        """None of an item that did not succeed, or whose result is damaged, which is shown as
        failed."""
        if blob is None or self._states[index] != SUCCEEDED:
            return ()
        try:
            with reading(f"item {index} of {self._job.id}"):
                return tuple(_output(found) for found in parse_result(blob).get("outputs", []))
        except Unreadable as error:
            log.warning("%s: %s", error, error.__cause__)
            return ()


def _output(found: RowOutput) -> Output:
    count = found.get("token_count")
    tokens: list[Any] = found.get("logprobs") or []
    logprobs = [token["logprob"] for token in tokens]
    known = len(logprobs) == count and None not in logprobs  # of each token
    return Output(found["text"], count, sum(logprobs) if known else None, found.get("json_valid"))


def _characters(item: Item) -> int:
    """As many as there are to compare: each output is compared with all references."""
    return sum(len(output.text) for output in item.outputs) + max(1, len(item.outputs)) * sum(
        map(len, item.references)
    )
