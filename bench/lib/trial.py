"""One trial: parts, load, faults and ledger together, from the first start to the last check."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.lib.fault_injector import FaultInjector, plan
from bench.lib.ledger import Ledger
from bench.lib.load import Load
from bench.lib.parts import Parts, die_with_parent
from bench.lib.receiver import Receiver
from bench.lib.reclaims import Reclaims
from bench.lib.retrying_client import Away, RetryingClient
from common.store.api_keys import ApiKeys
from common.store.connection import connect

LEASE, GRACE = 5.0, 3.0  # seconds; the lease is the default one
START_LIMIT = 60.0  # seconds for all parts to be up
# Seconds after the last fault for everything to be over; items struck twice run one by one.
SETTLE_LIMIT = 120.0
# Seconds that a run may at least take longer than planned, for the faults and items still missing.
OVERTIME = 30.0
PROGRESS = 5.0  # seconds between two lines
NOTES = 30  # of what is wrong, told in words; all are counted


class Trial:
    """`options` are those of `bench.faults`; whatever is started is ended by `stack`. `server` is
    put into the environment of Redis."""

    def __init__(
        self,
        folder: Path,
        options: Namespace,
        stack: ExitStack,
        server: Mapping[str, str] | None = None,
    ):
        self.options = options
        self.chance = random.Random(options.seed)
        self.ledger = Ledger()
        self.receiver = Receiver(self.ledger)
        settings = {
            "LEASE": LEASE,
            "GRACE": GRACE,
            "ECHO_DELAY": 0.01,
            "SLOTS": options.slots,
            "WEBHOOK_ALLOW": self.receiver.address,
            "WEBHOOK_TIMEOUT": 2,
            "WEBHOOK_BACKOFF": 0.5,
            # By chance alone some item is hit three times; poison is another test.
            "MAX_ATTEMPTS": 20,
        }
        self.parts = Parts(
            folder,
            options.workers,
            options.fsync,
            {name: str(value) for name, value in settings.items()},
            server,
        )
        self._stack = stack
        self._told_at = 0.0
        self._noted = 0
        self._begun = time.monotonic()

    def start(self) -> None:
        self._stack.callback(self.parts.stop)
        self.parts.start()
        self.receiver.start()
        self._stack.callback(self.receiver.stop)
        with connect(self.parts.server.url) as client:
            key = ApiKeys(client).create_key("faults", "faults")
        self.client = RetryingClient(self.parts.front.port, key, self.ledger)
        self.reclaims = Reclaims(self.parts.server.url)
        self.reclaims.start()
        self._stack.callback(self.reclaims.stop)
        self.injector = FaultInjector(
            self.parts,
            self.reclaims,
            self.chance,
            lease=LEASE,
            grace=GRACE,
            tell=self.say,
            note=lambda what: self.ledger.note("unexpected", what),
        )
        self._wait_until_up()
        wishes = random.Random(self.options.seed + 1)
        self.load = Load(
            self.client, self.ledger, self.receiver.address, wishes, self.options.backlog
        )
        self.load.start()
        self._stack.callback(self.load.stop)

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            try:
                self.client.call("GET", "/readyz")
                if all(worker.serving for worker in self.parts.workers):
                    return
            except Away:
                pass
            time.sleep(0.1)
        logs = "\n".join(part.log.decode()[-2000:] for part in self.parts.all)
        raise SystemExit(f"not up within {START_LIMIT:.0f} s:\n{logs}")

    def inject(self) -> None:
        """Inject the planned faults; go on until the promised number of items is reached."""
        self.injector.schedule(plan(self.chance, self.options.faults), self.options.seconds)
        limit = self.options.seconds + max(OVERTIME, self.options.seconds / 5)
        self.injector.run(
            limit,
            lambda: self.tell() and (self.injector.busy or self.ledger.items < self.options.items),
        )
        self.injector.end()

    def cancel(self) -> list[float]:
        """Seconds that cancels take once all workers are back, while others still submit."""
        self.injector.run(
            SETTLE_LIMIT,
            lambda: self.tell() and not all(worker.serving for worker in self.parts.workers),
        )
        return self.load.measure_cancels(self.options.cancels, at_once=3)

    def settle(self) -> None:
        """Submit no more, and wait until all that was promised is over."""
        self.load.stop_submitting()
        self.injector.run(
            SETTLE_LIMIT, lambda: self.tell() and bool(self.ledger.open() or self.ledger.untold())
        )

    def calm(self) -> None:
        """Inject no faults, and keep every core busy."""
        with busy_cores():
            self.injector.run(self.options.calm, self.tell)

    def check(self) -> None:
        """Check everything once more, now that it is over."""
        self.load.stop()
        try:
            for order in list(self.ledger.orders.values()):
                self.client.poll(order)
                if order.judged:
                    self.ledger.judged.check(order, self.client.evaluations(order))
            self.ledger.check_end(self.client.jobs())
        except Away as error:
            self.ledger.note("unexpected", f"away without a fault: {error}")
        self.tell()
        drains = self.injector.drains
        self.say(
            f"{len(drains)} drains, {max(drains, default=0.0):.1f} s at most with {GRACE:.0f} s "
            "of grace"
        )

    def tell(self) -> bool:
        """Print what is wrong at once, and a line of progress every few seconds. Always True, so
        that it can be part of a condition."""
        for note in self.ledger.notes[self._noted : NOTES]:
            self.say(note)
            self._noted += 1
        if time.monotonic() - self._told_at > PROGRESS:
            self._told_at = time.monotonic()
            ledger, reclaims = self.ledger, self.reclaims
            dropped = self.parts.front.dropped + sum(part.proxy.dropped for part in self.parts.all)
            self.say(
                f"{self.injector.faults.total()} faults, {dropped} replies lost, "
                f"{len(reclaims.seconds) + len(reclaims.seconds_after_redis)} reclaims; "
                f"{ledger.items} items promised, {ledger.seen} seen, {ledger.events} events, "
                f"{ledger.deliveries} webhooks; {dict(ledger.counts)}"
            )
        return True

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {what}", flush=True)


@contextmanager
def busy_cores() -> Iterator[None]:
    """A process on each core that does nothing but compute."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=die_with_parent())
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
