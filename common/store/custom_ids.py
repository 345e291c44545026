"""Digests of custom_ids, by which the items of several jobs are matched (`evals/matching.py`).

Sixteen bytes an item, so that the custom_ids of large jobs need not be held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from common.errors import NotFound
from common.store.job import Job
from common.store.job_items import JobItems
from common.stored_item import StoredItem

Digests: TypeAlias = npt.NDArray[np.bytes_]  # of 16 bytes; empty without a custom_id

AT_ONCE = 512  # items, fewer where they are large
MOST_READ = 8 * 2**20  # bytes as stored, so, about


def at_once(job: Job) -> int:
    """How many items of a job may be read at once."""
    return max(1, min(AT_ONCE, MOST_READ // max(1, job.item_bytes)))


def digests(items: Sequence[StoredItem]) -> Digests:
    return np.array([_digest(item.get("custom_id")) for item in items], dtype="S16")


def job_digests(store: JobItems, job: Job, go_on: Callable[[], None]) -> Digests:
    """Of all items of a job, in its order. `go_on` is called after each read.

    Raises:
        NotFound: the job was deleted meanwhile.
        whatever `go_on` raises.
    """
    found = np.zeros(job.total, "S16")
    few = at_once(job)
    for first in range(0, job.total, few):
        items = store.items(job.id, first, few)
        if not items:
            raise NotFound(f"{job.id} was deleted while its rows were read")
        found[first : first + len(items)] = digests(items)
        go_on()
    return found


def _digest(custom_id: str | None) -> bytes:
    if not custom_id:
        return b""
    # A digest that ends in zeros would be shorter in an array, and one of zeros empty.
    return hashlib.blake2b(custom_id.encode(errors="surrogatepass"), digest_size=15).digest() + b"c"
