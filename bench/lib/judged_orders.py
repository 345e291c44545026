"""Compares the evaluations of jobs with what they must be. Knows nothing of promptmill's code.

Every second item of a judged job has the text as its reference that the echo engine must say, the
others have another. So of a job whose items succeeded, `exact_match` is known.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.lib.ledger import Order

METRIC = "exact_match"
FINISHED = "evaluation.finished"
Note = Callable[[str, str], None]


class JudgedOrders:
    """Not safe for threads: the ledger is. `note` is called with what should not be."""

    def __init__(self, note: Note):
        self.evaluations = 0  # that were checked
        self._note = note
        # Job id to webhook id to body.
        self._hooks: defaultdict[str, dict[str, bytes]] = defaultdict(dict)

    def delivered(self, event_id: str, event: dict[str, Any], body: bytes) -> None:
        """A webhook about an evaluation."""
        hooks = self._hooks[event["data"]["job"]]
        if hooks.setdefault(event_id, body) != body:
            self._note("duplicated", f"webhook {event_id} came with two contents")

    def is_told(self, order: Order) -> bool:
        """Whether a webhook told the end of its evaluation."""
        return bool(self._hooks.get(order.job_id))

    def check(self, order: Order, evaluations: list[dict[str, Any]]) -> None:
        """The evaluations of a job that is over: one, if any item succeeded."""
        self._check_hooks(order)
        if order.ran == 0:
            if evaluations:
                self._note("duplicated", f"{order.name}: evaluated, and no item of it succeeded")
            return
        if len(evaluations) != 1:
            kind = "duplicated" if evaluations else "lost"
            self._note(kind, f"{order.name}: has {len(evaluations)} evaluations")
            return
        (found,) = evaluations
        self.evaluations += 1
        summary = found["summary"].get(METRIC, {})
        right = {"n": order.ran, "failed_items": order.items - order.ran}
        value = sum(index % 2 == 0 for index in order.succeeded) / order.ran
        good = (
            found["status"] == "done"
            and found["progress"]["done"] == order.items
            and all(summary.get(name) == number for name, number in right.items())
            and abs((summary["value"] or 0.0) - value) < 1e-9
        )
        if not good:
            told = json.dumps(found)[:600]
            self._note("unexpected", f"{order.name}: {METRIC} is {value}, and was found as {told}")

    def _check_hooks(self, order: Order) -> None:
        hooks = self._hooks[order.job_id]
        if len(hooks) != (order.ran > 0):
            kind = "duplicated" if hooks else "lost"
            told = f"its evaluation was told in {len(hooks)} events"
            self._note(kind, f"{order.name}: {told}")
        if any(json.loads(body)["data"]["status"] != "done" for body in hooks.values()):
            self._note("unexpected", f"{order.name}: its evaluation was told as failed")
