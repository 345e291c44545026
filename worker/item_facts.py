"""Reads of a job's items what a comparison needs: a few numbers an item, never their texts.

A job is read a group of items at a time, so memory grows by some 40 bytes an item.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from common.result_row import ItemResult
from common.store.custom_ids import at_once, digests
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import parse_result
from common.types import ItemState

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class ItemFacts:
    """Of all items of one job, in its order.

    `ids` are digests of their custom_ids, empty without one; `texts` of what was generated.
    `run_s` is in seconds, NaN where it is not known; `tokens` are those generated. `reasons` are
    finish reasons, as numbers of the combinations in `endings`: an item may have several outputs.
    """

    ids: npt.NDArray[np.bytes_]
    succeeded: Array
    texts: Array
    run_s: Array
    tokens: Array
    reasons: Array
    endings: list[tuple[str, ...]] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int) -> ItemFacts:
        return cls(
            ids=np.zeros(count, "S16"),
            succeeded=np.zeros(count, np.bool_),
            texts=np.zeros(count, np.uint64),
            run_s=np.full(count, np.nan, np.float32),
            tokens=np.zeros(count, np.int64),
            reasons=np.full(count, -1, np.int32),
        )

    def finish_reasons(self, places: Array) -> dict[str, int]:
        """How many outputs of these items ended so."""
        found: Counter[str] = Counter()
        codes, counts = np.unique(self.reasons[places], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            if code >= 0:
                for reason in self.endings[code]:
                    found[reason] += count
        return dict(found.most_common())


def read_facts(store: JobStore, job: Job, go_on: Callable[[], None]) -> ItemFacts:
    """`go_on` is called between two groups.

    Raises:
        NotFound: the job is gone.
        whatever `go_on` raises.
    """
    facts = ItemFacts.empty(job.total)
    endings: dict[tuple[str, ...], int] = {}
    few = at_once(job)
    succeeded = ItemState.SUCCEEDED.byte.encode()[0]
    states = np.frombuffer(store.states(job.id), np.uint8)[: job.total]
    facts.succeeded[: len(states)] = states == succeeded
    for first in range(0, job.total, few):
        indices = range(first, min(first + few, job.total))
        facts.ids[indices.start : indices.stop] = _ids(store, job.id, indices)
        for index, blob in zip(indices, store.result_blobs(job.id, indices), strict=True):
            if facts.succeeded[index]:
                facts.succeeded[index] = _note(facts, endings, index, blob)
        go_on()
    store.job(job.id)
    facts.endings.extend(endings)
    return facts


def _ids(store: JobStore, job_id: str, indices: range) -> Array:
    """Of items whose record is damaged, none."""
    try:
        with reading(f"items from {indices.start} on of {job_id}"):
            return digests(store.items(job_id, indices.start, len(indices)))
    except Unreadable:
        return np.zeros(len(indices), "S16")


def _note(
    facts: ItemFacts, endings: dict[tuple[str, ...], int], index: int, blob: bytes | None
) -> bool:
    """Note what an item's result says. Whether it can be read."""
    try:
        with reading(f"the result of item {index}"):
            return _add(facts, endings, index, parse_result(blob or b""))
    except Unreadable:
        return False


def _add(
    facts: ItemFacts, endings: dict[tuple[str, ...], int], index: int, result: ItemResult
) -> bool:
    outputs = result.get("outputs", [])
    texts = "\0".join(output["text"] for output in outputs)
    facts.texts[index] = _digest(texts)
    facts.tokens[index] = result["usage"]["completion_tokens"] if "usage" in result else 0
    if (run_s := result.get("run_s")) is not None:
        facts.run_s[index] = run_s
    ended = tuple(sorted(output["finish_reason"] for output in outputs))
    facts.reasons[index] = endings.setdefault(ended, len(endings))
    return True


def _digest(text: str) -> int:
    found = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found)
