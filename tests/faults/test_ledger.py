"""The ledger notices what it is there to notice, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from bench.lib.ledger import Ledger, Order


@pytest.fixture
def order() -> Order:
    return Order("j0", items=2, max_tokens=5, words=4, job_id="job_1")


@pytest.fixture
def ledger(order: Order) -> Ledger:
    found = Ledger()
    found.accepted(order)
    return found


def row(order: Order, index: int, **changes: Any) -> dict[str, Any]:
    output = {
        "text": order.answer(index),
        "finish_reason": "length",
        "token_count": order.max_tokens,
    }
    right = {
        "index": index,
        "custom_id": f"j0-{index}",
        "status": "succeeded",
        "outputs": [output],
        "error": None,
    }
    return right | changes


def view(status: str, **counts: int) -> dict[str, Any]:
    states = dict.fromkeys(
        ("total", "pending", "running", "succeeded", "failed", "cancelled", "expired"), 0
    )
    return {"status": status, "counts": states | {"total": 2} | counts}


def webhook(**counts: int) -> dict[str, Any]:
    return {"data": {"id": "job_1", "counts": view("completed", **counts)["counts"]}}


def finish(ledger: Ledger, order: Order) -> None:
    """All as it should be."""
    event = webhook(succeeded=2)
    ledger.delivered("evt_1", event, json.dumps(event).encode())
    ledger.saw_job(order, view("completed", succeeded=2))
    ledger.saw_results(order, [row(order, 0), row(order, 1)], known=set())


def found(ledger: Ledger) -> Counter[str]:
    return +ledger.counts


def test_a_job_that_ends_as_promised_leaves_no_note(ledger: Ledger, order: Order) -> None:
    ledger.saw_event(order, 1, row(order, 1), after=0)
    ledger.saw_event(order, 2, row(order, 0), after=1)
    finish(ledger, order)
    ledger.saw_finish(order, view("completed", succeeded=2))
    ledger.check_end(["job_1"])
    assert not found(ledger) and not ledger.open() and not ledger.untold()


def test_the_echo_is_predicted_word_by_word(order: Order) -> None:
    assert order.answer(1) == "j0 i1 w1 w2 j0"


def test_a_missing_result_is_lost(ledger: Ledger, order: Order) -> None:
    ledger.saw_job(order, view("running", running=2))
    ledger.check_end(["job_1"])
    assert found(ledger) == Counter(lost=2)


def test_a_result_that_went_away_is_lost(ledger: Ledger, order: Order) -> None:
    ledger.saw_job(order, view("running", succeeded=1, running=1))
    ledger.saw_results(order, [row(order, 0)], known=set())
    ledger.saw_results(order, [], known={0})
    assert found(ledger) == Counter(lost=1)


def test_a_promised_job_that_nobody_lists_is_lost(ledger: Ledger, order: Order) -> None:
    finish(ledger, order)
    ledger.check_end([])
    assert found(ledger) == Counter(lost=2)


def test_a_result_that_changed_is_duplicated(ledger: Ledger, order: Order) -> None:
    ledger.saw_event(order, 1, row(order, 0, attempts=1), after=0)
    ledger.saw_results(order, [row(order, 0, attempts=2)], known={0})
    assert found(ledger) == Counter(duplicated=1)


@pytest.mark.parametrize(("number", "kind"), [(3, "lost"), (1, "duplicated")])
def test_events_follow_one_another(ledger: Ledger, order: Order, number: int, kind: str) -> None:
    ledger.saw_event(order, 1, row(order, 0), after=0)
    ledger.saw_event(order, number, row(order, 0), after=1)
    assert found(ledger) == Counter({kind: 1})


def test_an_event_number_is_one_item_for_ever(ledger: Ledger, order: Order) -> None:
    ledger.saw_event(order, 1, row(order, 0), after=0)
    ledger.saw_event(order, 1, row(order, 1), after=0)
    assert found(ledger) == Counter(duplicated=1)


def test_a_job_that_no_202_told_of_is_duplicated(ledger: Ledger, order: Order) -> None:
    finish(ledger, order)
    ledger.check_end(["job_1", "job_2"])
    assert found(ledger) == Counter(duplicated=1)


def test_an_end_told_as_two_events_is_duplicated(ledger: Ledger, order: Order) -> None:
    finish(ledger, order)
    event = webhook(succeeded=2)
    ledger.delivered("evt_2", event, json.dumps(event).encode())
    ledger.check_end(["job_1"])
    assert found(ledger) == Counter(duplicated=1)


def test_a_repeated_delivery_is_fine(ledger: Ledger, order: Order) -> None:
    finish(ledger, order)
    event = webhook(succeeded=2)
    ledger.delivered("evt_1", event, json.dumps(event).encode())
    ledger.check_end(["job_1"])
    assert not found(ledger)


@pytest.mark.parametrize(
    "changes",
    [{"status": "failed"}, {"status": "cancelled"}, {"outputs": []}, {"custom_id": "j1-0"}],
)
def test_a_wrong_result_is_unexpected(
    ledger: Ledger, order: Order, changes: dict[str, Any]
) -> None:
    ledger.saw_event(order, 1, row(order, 0, **changes), after=0)
    assert found(ledger) == Counter(unexpected=1)


def test_counts_that_do_not_add_up_are_unexpected(ledger: Ledger, order: Order) -> None:
    ledger.saw_job(order, view("running", running=1))
    assert found(ledger) == Counter(unexpected=1)


def test_a_terminal_job_stays_as_it_is(ledger: Ledger, order: Order) -> None:
    ledger.saw_job(order, view("completed", succeeded=2))
    ledger.saw_job(order, view("running", succeeded=2))
    assert found(ledger) == Counter(unexpected=1)
