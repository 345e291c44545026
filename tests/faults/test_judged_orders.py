"""The ledger notices evaluations that are lost, made twice, or wrong."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from bench.lib.judged_orders import FINISHED
from bench.lib.ledger import Ledger, Order


@pytest.fixture
def order() -> Order:
    """Of three items, the last of which was cancelled."""
    made = Order("j0", items=3, max_tokens=5, words=4, judged=True, job_id="job_1")
    made.states.update(succeeded=2, cancelled=1)
    made.succeeded |= {0, 1}
    return made


@pytest.fixture
def ledger(order: Order) -> Ledger:
    found = Ledger()
    found.accepted(order)
    return found


def tell(ledger: Ledger, event_id: str = "evt_1", status: str = "done") -> None:
    event = {"type": FINISHED, "data": {"id": "eval_1", "job": "job_1", "status": status}}
    ledger.delivered(event_id, event, json.dumps(event).encode())


def evaluation(status: str = "done", **changes: Any) -> dict[str, Any]:
    summary = {"n": 2, "failed_items": 1, "value": 0.5} | changes
    return {
        "status": status,
        "summary": {"exact_match": summary},
        "progress": {"done": 3, "total": 3},
    }


def test_the_right_number_told_once_leaves_no_note(ledger: Ledger, order: Order) -> None:
    tell(ledger)
    tell(ledger)  # the same event again
    ledger.judged.check(order, [evaluation()])
    assert not +ledger.counts
    assert ledger.judged.evaluations == 1


def test_a_judged_job_is_sent_with_references_every_second_of_which_is_right(order: Order) -> None:
    sent = order.body({"url": "http://x"})
    assert [item["reference"] for item in sent["items"]] == [
        order.answer(0),
        "another",
        order.answer(2),
    ]
    assert sent["metrics"] == ["exact_match"]
    assert sent["webhook"]["events"] == ["job.finished", FINISHED]


@pytest.mark.parametrize(
    "wrong",
    [
        evaluation(value=0.25),
        evaluation(value=None),
        evaluation(n=1),
        evaluation(failed_items=0),
        evaluation("running"),
        evaluation("failed"),
        evaluation() | {"progress": {"done": 2, "total": 3}},
        evaluation() | {"summary": {}},
    ],
)
def test_a_wrong_evaluation_is_unexpected(
    ledger: Ledger, order: Order, wrong: dict[str, Any]
) -> None:
    tell(ledger)
    ledger.judged.check(order, [wrong])
    assert +ledger.counts == Counter(unexpected=1)


def test_what_is_missing_is_lost_and_what_is_there_twice_is_duplicated(
    ledger: Ledger, order: Order
) -> None:
    assert ledger.untold() == [order]
    ledger.judged.check(order, [])
    assert +ledger.counts == Counter(lost=2)
    tell(ledger)
    tell(ledger, "evt_2")
    ledger.judged.check(order, [evaluation(), evaluation()])
    assert +ledger.counts == Counter(lost=2, duplicated=2)


def test_an_evaluation_that_is_told_as_failed_is_unexpected(ledger: Ledger, order: Order) -> None:
    tell(ledger, status="failed")
    ledger.judged.check(order, [evaluation()])
    assert +ledger.counts == Counter(unexpected=1)


def test_a_job_of_which_nothing_succeeded_has_no_evaluation(ledger: Ledger, order: Order) -> None:
    order.states = Counter(cancelled=3)
    order.succeeded.clear()
    ledger.judged.check(order, [])
    assert not +ledger.counts
    ledger.judged.check(order, [evaluation()])
    assert +ledger.counts == Counter(duplicated=1)
