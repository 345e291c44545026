"""Compares what was promised with what was seen. Knows nothing of promptmill's code.

An item is *lost* when its job was answered 202 and no terminal result of it is ever seen, or when a
result that was seen is gone later. It is *duplicated* when two different results of it are seen,
when a follower receives it twice, or when a request that was sent again made a second job.
*Unexpected* is everything else that should not be: a wrong text, a failed item, a status that
should not occur, counts that do not add up.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from bench.lib.judged_orders import FINISHED, METRIC, JudgedOrders

TERMINAL = {"completed", "cancelled", "expired"}
STATES = ("pending", "running", "succeeded", "failed", "cancelled", "expired")
ENDED = STATES[2:]
BESIDE = ("reference", "scores")  # of a row of results: no part of an event, and scores come later


@dataclass
class Order:
    """A job as it was sent, and what has been seen of it since its 202."""

    name: str  # also its idempotency key
    items: int
    max_tokens: int
    words: int  # of each prompt
    priority: int = 0
    judged: bool = False  # it has references, and is evaluated at its end
    job_id: str = ""
    cancelled: bool = False  # we asked for it
    view: dict[str, Any] = field(default_factory=dict)  # the job as last seen
    rows: dict[int, bytes] = field(default_factory=dict)  # digest of each result seen
    states: Counter[str] = field(default_factory=Counter)  # of those results
    succeeded: set[int] = field(default_factory=set)
    told: dict[int, int] = field(default_factory=dict)  # event id to item, as followers were told
    finish: dict[str, Any] = field(default_factory=dict)  # the job as a follower was told its end
    complete: bool = False  # all results were read after it was over

    @property
    def over(self) -> bool:
        return self.view.get("status") in TERMINAL

    @property
    def ran(self) -> int:
        """Items that have a result of their own, so an event too; those cancelled before they ran
        have none."""
        return self.states["succeeded"]

    def prompt(self, index: int) -> str:
        return " ".join(
            [self.name, f"i{index}", *(f"w{(index + k) % 97}" for k in range(self.words - 2))]
        )

    def answer(self, index: int) -> str:
        """What the echo engine says: the prompt's words, round and round, up to `max_tokens`."""
        words = self.prompt(index).split()
        return " ".join(words[k % len(words)] for k in range(self.max_tokens))

    def reference(self, index: int) -> str:
        """Of a judged job: every second one is right."""
        return self.answer(index) if index % 2 == 0 else "another"

    def body(self, webhook: dict[str, Any]) -> dict[str, Any]:
        items = [
            {"prompt": self.prompt(index), "custom_id": f"{self.name}-{index}"}
            | ({"reference": self.reference(index)} if self.judged else {})
            for index in range(self.items)
        ]
        if self.judged:
            webhook = {**webhook, "events": ["job.finished", FINISHED]}
        params = {"max_tokens": self.max_tokens, "temperature": 0, "ignore_eos": True}
        return {
            "model": "echo",
            "items": items,
            "params": params,
            "webhook": webhook,
            "priority": self.priority,
        } | ({"metrics": [METRIC]} if self.judged else {})


class Ledger:
    """Safe for threads: those who submit, poll, follow and receive all write here."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}  # by job id
        self.deliveries = 0
        self.events = 0  # told to followers
        self.charged = 0  # results that more than one worker had begun
        self.counts = Counter(lost=0, duplicated=0, unexpected=0)
        self.notes: list[str] = []
        # Job id to webhook id to body.
        self._hooks: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        self._lock = threading.RLock()
        self.judged = JudgedOrders(self.note)

    def note(self, kind: str, what: str, count: int = 1) -> None:
        """Something that should not be; `kind` is lost, duplicated or unexpected."""
        with self._lock:
            self.counts[kind] += count
            self.notes.append(f"{kind}: {what}")

    # What happens

    def accepted(self, order: Order) -> None:
        """A 202. From here on it is a promise."""
        with self._lock:
            self.orders[order.job_id] = order

    def saw_job(self, order: Order, view: dict[str, Any]) -> None:
        """The job, as one and the same reader sees it again and again."""
        counts = view["counts"]
        with self._lock:
            before, order.view = order.view, view
            if (
                sum(counts[state] for state in STATES) != order.items
                or counts["total"] != order.items
            ):
                self.note("unexpected", f"{order.name}: counts do not add up: {counts}")
            if not before:
                return
            if any(counts[state] < before["counts"][state] for state in ENDED):
                self.note("lost", f"{order.name}: had ended {before['counts']}, then {counts}")
            if before["status"] in TERMINAL and before["status"] != view["status"]:
                self.note(
                    "unexpected", f"{order.name}: was {before['status']}, then {view['status']}"
                )

    def saw_results(self, order: Order, rows: list[dict[str, Any]], known: set[int]) -> None:
        """A whole results file, asked for after `saw_job`, when the items `known` had results
        already."""
        with self._lock:
            for row in rows:
                self._saw_row(order, row)
            found = {row["index"] for row in rows}
            if len(found) < len(rows):
                self.note(
                    "duplicated", f"{order.name}: rows twice in one file", len(rows) - len(found)
                )
            if gone := known - found:
                self.note(
                    "lost",
                    f"{order.name}: results {sorted(gone)[:5]} were seen and are gone",
                    len(gone),
                )
            order.complete = order.over

    def saw_event(self, order: Order, number: int, row: dict[str, Any], *, after: int) -> None:
        """An item's event, told to a follower that had asked for what comes behind event
        `after`."""
        with self._lock:
            self.events += 1
            self._saw_row(order, row)
            if number != after + 1:
                kind = "lost" if number > after + 1 else "duplicated"
                self.note(kind, f"{order.name}: event {number} came after event {after}")
            known = order.told.setdefault(number, row["index"])
            if known != row["index"]:
                self.note(
                    "duplicated",
                    f"{order.name}: event {number} told item {known}, then {row['index']}",
                )

    def saw_finish(self, order: Order, view: dict[str, Any]) -> None:
        """The last event that a follower was told."""
        with self._lock:
            order.finish = view

    def delivered(self, event_id: str, event: dict[str, Any], body: bytes) -> None:
        """A webhook. It may come before the 202 of its job was read."""
        with self._lock:
            self.deliveries += 1
            if event.get("type") == FINISHED:
                self.judged.delivered(event_id, event, body)
                return
            hooks = self._hooks[event["data"]["id"]]
            if hooks.setdefault(event_id, body) != body:
                self.note("duplicated", f"webhook {event_id} came with two contents")

    def _saw_row(self, order: Order, row: dict[str, Any]) -> None:
        index = row["index"]
        row = {name: value for name, value in row.items() if name not in BESIDE}
        digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()
        if index not in order.rows:
            order.rows[index] = digest
            order.states[row["status"]] += 1
            if row["status"] == "succeeded":
                order.succeeded.add(index)
            self.charged += row.get("attempts", 1) > 1
            self._check_row(order, row)
        elif order.rows[index] != digest:
            self.note(
                "duplicated",
                f"{order.name}: item {index} has a second result: {json.dumps(row)[:300]}",
            )

    def _check_row(self, order: Order, row: dict[str, Any]) -> None:
        """Is this result the one that its prompt must have?"""
        index, answer = row["index"], order.answer(row["index"])
        if row["custom_id"] != f"{order.name}-{index}":
            self.note("unexpected", f"{order.name}: item {index} is called {row['custom_id']}")
        texts = [output["text"] for output in row["outputs"]]
        if row["status"] == "succeeded":
            right = [(output["finish_reason"], output["token_count"]) for output in row["outputs"]]
            good = texts == [answer] and right == [("length", order.max_tokens)]
        else:
            good = (
                row["status"] == "cancelled"
                and order.cancelled
                and all(answer.startswith(text) for text in texts)
            )
        if not good:
            self.note("unexpected", f"{order.name}: item {index} ended as {json.dumps(row)[:400]}")

    # What it comes to

    @property
    def items(self) -> int:
        return sum(order.items for order in list(self.orders.values()))

    @property
    def seen(self) -> int:
        return sum(len(order.rows) for order in list(self.orders.values()))

    def open(self) -> list[Order]:
        """Jobs whose results are not all read."""
        return [order for order in list(self.orders.values()) if not order.complete]

    def untold(self) -> list[Order]:
        """Jobs of which no webhook has told the end, or that of their evaluation."""
        return [order for order in list(self.orders.values()) if not self._is_told(order)]

    def _is_told(self, order: Order) -> bool:
        evaluated = not (order.judged and order.ran) or self.judged.is_told(order)
        return bool(self._hooks.get(order.job_id)) and evaluated

    def check_end(self, listed: list[str]) -> None:
        """The last look, when everything should be over: `listed` are all jobs that the server
        knows."""
        with self._lock:
            for order in self.orders.values():
                self._check_order(order)
            for job_id in set(listed) - self.orders.keys():
                self.note("duplicated", f"{job_id} exists, but no 202 told of it")
            for job_id in self.orders.keys() - set(listed):
                self.note(
                    "lost",
                    f"{job_id} was answered 202 and is not listed",
                    self.orders[job_id].items,
                )

    def _check_order(self, order: Order) -> None:
        missing = order.items - len(order.rows)
        if missing or not order.over:
            self.note(
                "lost",
                f"{order.name} ({order.job_id}): {missing} items without result: {order.view}",
                max(1, missing),
            )
            return
        counts = order.view["counts"]
        if any(counts[state] != order.states[state] for state in ENDED):
            self.note(
                "unexpected", f"{order.name}: counts {counts}, but results {dict(order.states)}"
            )
        if order.view["status"] != "completed" and not order.cancelled:
            self.note("unexpected", f"{order.name} ended as {order.view['status']}")
        if order.finish and (order.finish["counts"] != counts or len(order.told) < order.ran):
            self.note(
                "unexpected",
                (
                    f"{order.name}: a follower heard {order.finish['counts']} in {len(order.told)} "
                    "events"
                ),
            )
        hooks = self._hooks[order.job_id]
        if not hooks:
            self.note("lost", f"{order.name}: its end was told to no webhook")
        if len(hooks) > 1:
            self.note("duplicated", f"{order.name}: its end was told as {sorted(hooks)}")
        if any(json.loads(body)["data"]["counts"] != counts for body in hooks.values()):
            self.note("unexpected", f"{order.name}: its webhook tells other counts than {counts}")
