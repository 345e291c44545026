"""Reads the references of a job's items: those that came with an evaluation, else the items' own,
or the column that is mapped to `reference`."""

from __future__ import annotations

from collections.abc import Sequence

from common.references import reference_of
from common.store.evaluation_references import EvaluationReferences
from common.store.jobs import JobStore

References = tuple[str, ...]  # of an item


class JudgedReferences:
    """Those that an evaluation of this job takes. `referenced`: whether they came with it."""

    def __init__(
        self,
        store: JobStore,
        given: EvaluationReferences,
        job_id: str,
        evaluation_id: str,
        referenced: bool,
    ):
        self._store = store
        self._given = given
        self._job_id = job_id
        self._evaluation_id = evaluation_id
        self._referenced = referenced
        self._column = store.prep(job_id).get("mapped", {}).get("reference")

    def read(self, first: int, count: int) -> list[References]:
        """Of items [first, first + count), as far as there are any.

        Raises:
            Unreadable: what is kept beside the items is damaged.
        """
        if self._referenced:
            given = self._given.read(self._evaluation_id, first, count)
            return [tuple(texts or ()) for texts in given]
        sides = self._store.side(self._job_id, first, count)
        if self._column is None:
            return [_texts(side.get("reference")) for side in sides]
        items = self._store.items(self._job_id, first, count)
        found = []
        for item, side in zip(items, sides, strict=True):
            cell = (item.get("vars", {}) | side.get("vars", {})).get(self._column)
            found.append(_texts(side.get("reference", reference_of(cell))))
        return found


def _texts(reference: str | Sequence[str] | None) -> References:
    if reference is None:
        return ()
    return (reference,) if isinstance(reference, str) else tuple(reference)
