"""Finds which items of several jobs belong together: by custom_id, else by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from evals.arrays import Ints

# A digest of each item's custom_id, 16 bytes; empty where it has none.
Digests: TypeAlias = npt.NDArray[np.bytes_]
Reason = Literal["no_custom_ids", "duplicate_custom_ids"]


@dataclass(frozen=True)
class Matching:
    """`rows[i, j]` is the index, in job j, of the i-th item that all jobs have; the items are in
    the first job's order.

    `order` sorts these rows in a way that does not depend on which job is first. `reason` says
    why they are not matched by custom_id.
    """

    by: Literal["custom_id", "position"]
    rows: Ints
    order: Ints
    reason: Reason | None = None


def match(jobs: Sequence[Digests]) -> Matching:
    """By custom_id if every item of every job has one that no other of its job has."""
    if reason := _why_not(jobs):
        shared = np.arange(min(map(len, jobs)))
        rows = np.repeat(shared[:, None], len(jobs), axis=1)
        return Matching("position", rows, shared, reason)
    first = jobs[0]
    places = [_places(first, other) for other in jobs]
    in_all = np.all([place >= 0 for place in places], axis=0)
    rows = np.stack([place[in_all] for place in places], axis=1)
    return Matching("custom_id", rows, np.argsort(first[in_all], kind="stable"))


def _why_not(jobs: Sequence[Digests]) -> Reason | None:
    if any((digests == b"").any() or len(digests) == 0 for digests in jobs):
        return "no_custom_ids"
    if any(len(np.unique(digests)) < len(digests) for digests in jobs):
        return "duplicate_custom_ids"
    return None


def _places(wanted: Digests, there: Digests) -> Ints:
    """Where each of the wanted is; -1 for those that are not there."""
    order = np.argsort(there, kind="stable")
    ordered = there[order]
    place: npt.NDArray[Any] = np.minimum(np.searchsorted(ordered, wanted), len(there) - 1)
    return np.where(ordered[place] == wanted, order[place], -1)
