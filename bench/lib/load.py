"""The load: threads that submit, cancel, poll and follow for as long as faults are injected."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.lib.ledger import Ledger, Order
from bench.lib.retrying_client import Away, RetryingClient

PAUSE = 0.2  # seconds between two looks
SUBMITTERS = 2
FOLLOWERS = 3
JUDGED = 0.5  # of the jobs have references, and are evaluated
CANCEL_ITEMS = 4
CANCEL_TOKENS = 3000  # of each: longer than any cancel can take
CANCEL_LIMIT = 30.0  # seconds to wait for a job to start, and to end


class Load:
    """`chance` decides what is sent; the order is up to the threads.

    Nothing is submitted while `backlog` items are accepted and not yet seen to end.
    """

    def __init__(
        self,
        client: RetryingClient,
        ledger: Ledger,
        receiver: str,
        chance: random.Random,
        backlog: int,
    ):
        self._client = client
        self._ledger = ledger
        self._receiver = receiver
        self._chance = chance
        self._backlog = backlog
        self._number = itertools.count()
        self._submitting, self._going = True, True
        self._followed: set[str] = set()
        self._lock = threading.Lock()
        jobs = [*[self._submit_on] * SUBMITTERS, self._poll_on, *[self._follow_on] * FOLLOWERS]
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_submitting(self) -> None:
        self._submitting = False

    def stop(self) -> None:
        self._submitting = self._going = False
        for thread in self._threads:
            if thread.is_alive():
                thread.join(30)

    # What the threads do all the time

    def _submit_on(self) -> None:
        while self._submitting:
            if self._ledger.items - self._ledger.seen > self._backlog:
                time.sleep(PAUSE)
                continue
            order = self._next_order()
            self._attempt(lambda order=order: self._client.submit(order, self._receiver))  # type: ignore[misc]
            if self._chance.random() < 0.1:
                time.sleep(self._chance.uniform(0, 0.5))
                self._attempt(lambda order=order: self._client.cancel(order))  # type: ignore[misc]

    def _next_order(self) -> Order:
        """Often a single item, mostly many short ones, now and then a few that run for seconds."""
        long, single = self._chance.random() < 0.05, self._chance.random() < 0.3
        items = (
            1 if single else self._chance.randint(1, 8) if long else self._chance.randint(1, 400)
        )
        tokens = self._chance.randint(150, 400) if long else self._chance.randint(5, 40)
        words, judged = self._chance.randint(4, 12), self._chance.random() < JUDGED
        return Order(f"j{next(self._number)}", items, tokens, words, judged=judged)

    def _poll_on(self) -> None:
        while self._going:
            for order in self._ledger.open():
                try:
                    self._client.poll(order)
                except Away:
                    time.sleep(PAUSE)
            time.sleep(PAUSE)

    def _follow_on(self) -> None:
        while self._going:
            order = self._unfollowed()
            if order:
                self._client.follow(order, lambda: self._going)
            else:
                time.sleep(PAUSE)

    def _unfollowed(self) -> Order | None:
        """The newest job that is not followed yet, marked as followed."""
        with self._lock:
            for order in reversed(self._ledger.open()):
                if order.job_id not in self._followed:
                    self._followed.add(order.job_id)
                    return order
        return None

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Away as error:
            self._ledger.note("unexpected", f"away for too long: {error}")

    # What is measured when no faults are injected any more

    def measure_cancels(self, count: int, at_once: int) -> list[float]:
        """Seconds from the call to the job's last slot being free, of jobs that run while others
        are submitted."""
        with ThreadPoolExecutor(at_once) as pool:
            return [seconds for seconds in pool.map(self._try_cancel, range(count)) if seconds]

    def _try_cancel(self, _number: int) -> float | None:
        try:
            return self._measure_cancel()
        except Away as error:
            self._ledger.note("unexpected", f"away for too long: {error}")
            return None

    def _measure_cancel(self) -> float | None:
        order = Order(f"c{next(self._number)}", CANCEL_ITEMS, CANCEL_TOKENS, 8, priority=10)
        self._client.submit(order, self._receiver)
        if not self._until(lambda: self._client.running(order) == CANCEL_ITEMS):
            self._ledger.note("unexpected", f"{order.name} did not start")
            return None
        begun = time.monotonic()
        self._client.cancel(order)
        if not self._until(lambda: self._client.running(order) == 0):
            self._ledger.note("unexpected", f"{order.name} was cancelled and went on")
            return None
        return time.monotonic() - begun

    def _until(self, condition: Callable[[], bool]) -> bool:
        end = time.monotonic() + CANCEL_LIMIT
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.01)
        return False
