"""The columns of a job's input, as its items come by: what results show, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from common.errors import InvalidRequest
from common.store.job_prep import MOST_COLUMNS, JobPrep
from web.intake.drafts import Draft
from web.schemas.requests import Item


class InputColumns:
    """Names in order: those of a table as in its header, those of JSON items as they first
    appear."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._types: Mapping[str, str] | None = None
        self._header: object = None  # of the table whose rows come by

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def header(self, draft: Draft) -> bool:
        """Whether a table's columns came with this draft that did not come before."""
        if draft.columns is None or draft.columns is self._header:
            return False
        self._header = draft.columns
        self._types = draft.types
        self._add(draft.columns)
        return True

    def item(self, variables: Mapping[str, object] | None, draft: Draft) -> None:
        """Note an item's variables; those of a table are known."""
        if variables and draft.columns is None:
            self._add(variables)

    def _add(self, names: Iterable[str]) -> None:
        self._names.update(dict.fromkeys(names))
        if len(self._names) > MOST_COLUMNS:
            raise InvalidRequest(
                f"the items' vars have more than {MOST_COLUMNS:,} different names",
                code="too_many_columns",
                field="vars",
            )

    def add_to(self, prep: JobPrep) -> None:
        if self._names:
            prep["columns"] = self.names
        if self._types:
            prep["types"] = dict(self._types)


def size_of(item: Item) -> int:
    """Characters of an item's variables, about: what holding it takes beside its prompt."""
    values = (item.vars or {}).values()
    if set(map(type, values)) == {str}:  # as those of most tables
        return sum(map(len, values))
    return sum(len(each) if isinstance(each, str) else len(json.dumps(each)) for each in values)
