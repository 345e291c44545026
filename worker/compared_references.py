"""Whether the references of jobs that are compared are alike, row by row: a digest an item, never
their texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from common.store.comparison_rows import Array
from common.store.custom_ids import at_once
from common.store.evaluations import Evaluation, Evaluations
from common.store.jobs import JobStore
from evals.registry import METRICS
from worker.judged_references import JudgedReferences, References


def unlike_references(
    store: JobStore,
    evaluations: Evaluations,
    compared: Sequence[Evaluation],
    names: Iterable[str],
    rows: Array,
    go_on: Callable[[], None],
) -> int | None:
    """How many matched rows (`rows`: the items' indices, rows by jobs) were not compared with the
    same references in all evaluations. None if none of these metrics takes references: then nobody
    needs to know. `go_on` is called between two reads.

    Raises:
        NotFound: a job is gone.
        Unreadable: what is kept beside the items is damaged.
        whatever `go_on` raises.
    """
    if not any(METRICS[name].needs == "references" for name in names):
        return None
    by_id = {each.id: each for each in compared}
    read = {key: _digests(store, evaluations, each, go_on) for key, each in by_id.items()}
    first, *others = [read[each.id][rows[:, place]] for place, each in enumerate(compared)]
    return int(np.any([first != other for other in others], axis=0).sum())


def _digests(
    store: JobStore, evaluations: Evaluations, evaluation: Evaluation, go_on: Callable[[], None]
) -> Array:
    """Of all items of the evaluation's job; 0 for those without references."""
    job = store.job(evaluation.job)
    references = JudgedReferences(
        store, evaluations.references, job.id, evaluation.id, evaluation.referenced
    )
    found, few = np.zeros(job.total, np.uint64), at_once(job)
    for first in range(0, job.total, few):
        for place, texts in enumerate(references.read(first, min(few, job.total - first)), first):
            found[place] = _digest(texts)
        go_on()
    return found


def _digest(references: References) -> int:
    """Neither their order nor empty ones make a difference to any metric."""
    texts = sorted({text for text in references if text.strip()})
    if not texts:
        return 0
    packed = json.dumps(texts).encode()
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest())
