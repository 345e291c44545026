"""The rows of jobs that are compared: which items belong together, whether outputs differ, how long
they ran and are. Knows no store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from common.store.comparison_rows import CHANGED, FAILED, Array, RowBlock, pack_block
from common.store.comparisons import BLOCK
from common.types import JsonObject
from evals.matching import match
from worker.item_facts import ItemFacts

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}


class Rows:
    """`facts` are those of each job, the baseline's first."""

    def __init__(self, facts: Sequence[ItemFacts]):
        self._facts = facts
        self.matching = match([each.ids for each in facts])
        pairs = list(zip(facts, self.matching.rows.T, strict=True))
        done = [each.succeeded[items] for each, items in pairs]
        texts = [each.texts[items] for each, items in pairs]
        differ = [
            done[0] & there & (texts[0] != text)
            for there, text in zip(done[1:], texts[1:], strict=True)
        ]
        self._done: Array = np.all(done, axis=0)
        self._changed: Array = np.any(differ, axis=0)

    def matched(self) -> JsonObject:
        rows = len(self.matching.rows)
        return {
            "by": self.matching.by,
            "reason": self.matching.reason,
            "rows": rows,
            "succeeded": int(self._done.sum()),
            "changed": int(self._changed.sum()),
            "unmatched": [len(each.ids) - rows for each in self._facts],
        }

    def figures(self) -> list[JsonObject]:
        """Of each job, how long the rows ran that all jobs have done, how long they are, and why
        they ended."""
        return [
            {
                "run_s": _spread(each.run_s[items]),
                "tokens": _spread(each.tokens[items]),
                "finish_reasons": each.finish_reasons(items),
            }
            for each, items in zip(self._facts, self.matching.rows[self._done].T, strict=True)
        ]

    def blocks(self, verdicts: Mapping[str, Array]) -> Iterator[tuple[int, bytes]]:
        """The rows as they are kept, with these verdicts by metric: numbers of blocks and their
        contents."""
        rows = self.matching.rows
        flags = CHANGED * self._changed + FAILED * ~self._done
        none = np.zeros((len(rows), 0, len(self._facts) - 1), np.int8)
        judged = np.stack(list(verdicts.values()), axis=1) if verdicts else none
        numbers = rows[:, 0] // BLOCK
        for number in np.unique(numbers).tolist():
            part = slice(*np.searchsorted(numbers, (number, number + 1)).tolist())
            yield number, pack_block(RowBlock(rows[part], flags[part], judged[part]))


def _spread(values: Array) -> JsonObject | None:
    """Mean and quantiles; None without a value."""
    told = values[~np.isnan(values)].astype(np.float64)
    if len(told) == 0:
        return None
    found = np.quantile(told, list(QUANTILES.values())).tolist()
    return {"mean": float(told.mean()), **dict(zip(QUANTILES, found, strict=True))}
