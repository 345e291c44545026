"""Turns: how many are at work at once, whose turn it is, and what becomes of those that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from common.errors import Unavailable
from tests.support.waiting import wait_until
from web.services.turns import Turns


class Crowd:
    """Requests in threads of their own, each of which works until it is let go."""

    def __init__(self, turns: Turns):
        self._turns = turns
        self.working: list[str] = []
        self.refused: list[str] = []
        self._threads: list[threading.Thread] = []
        self._gates: dict[str, threading.Event] = {}

    def add(self, name: str) -> None:
        """A request; its tenant is the first letter of its name."""
        self._gates[name] = threading.Event()
        self._threads.append(threading.Thread(target=self._run, args=(name,)))
        self._threads[-1].start()
        time.sleep(0.02)  # so that they come in this order

    def _run(self, name: str) -> None:
        try:
            with self._turns.turn(name[0]):
                self.working.append(name)
                self._gates[name].wait(10)
                self.working.remove(name)
        except Unavailable:
            self.refused.append(name)

    def let_go(self, name: str) -> None:
        before = list(self.working)
        self._gates[name].set()
        wait_until(lambda: self.working != before and name not in self.working)
        time.sleep(0.02)

    def end(self) -> None:
        for gate in self._gates.values():
            gate.set()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def crowd(turns: Turns, *names: str) -> Iterator[Crowd]:
    found = Crowd(turns)
    try:
        for name in names:
            found.add(name)
        yield found
    finally:
        found.end()


def turns(most: int = 2, waiting: int = 8, patience: float = 10.0) -> Turns:
    return Turns("tests", most=most, waiting=waiting, patience=patience)


def test_so_many_work_at_once_and_one_of_a_tenant() -> None:
    with crowd(turns(), "a1", "a2", "b1", "c1") as found:
        assert found.working == ["a1", "b1"]


def test_tenants_are_served_in_turn_however_many_requests_one_has() -> None:
    with crowd(turns(most=1), "a1", "a2", "a3", "b1", "c1") as found:
        order = []
        for _ in range(5):
            order += found.working
            found.let_go(found.working[0])
    assert order == ["a1", "a2", "b1", "c1", "a3"]


def test_more_of_a_tenant_than_may_wait_are_refused_at_once_and_others_are_not() -> None:
    with crowd(turns(most=1, waiting=2), "a1", "a2", "a3", "a4", "b1") as found:
        assert found.refused == ["a4"]


def test_who_waited_too_long_is_refused_and_takes_nobodys_turn() -> None:
    with crowd(turns(most=1, patience=0.2), "a1", "a2", "b1") as found:
        wait_until(lambda: len(found.refused) == 2)
        found.let_go("a1")
        found.add("c1")
        assert found.working == ["c1"]


def test_the_turn_of_one_that_failed_is_over() -> None:
    shared = turns(most=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broke"), shared.turn("a"):
            raise ValueError("it broke")
