"""Is anything lost, or done twice? `make faults`, `make faults-long`: real processes, struck at random, and a ledger.

A Valkey that syncs every write, the web tier, workers on the echo engine, a webhook worker, each behind a proxy of its
own to Redis. Users submit, cancel, poll, follow events and receive webhooks, while a seeded schedule kills, freezes,
drains and cuts off the parts. An independent ledger holds every promise against everything seen. Last line is JSON:

    faults           how many of each kind struck
    items            in jobs that were answered 202
    lost             items of them without a result, results that were seen and went away, events skipped
    duplicated       results that differ from what was seen before, events told twice, jobs or webhooks made twice
    unexpected       anything else that should not be: wrong texts, failed items, 5xx other than 503, parts that crash
    reclaim_*_s      from the moment a worker was struck until nothing is its any more. Where Redis was away meanwhile,
                     from its return; those count in the maximum only, for their leases were all renewed first
    false_reclaims   leases that ran out although nobody had struck their worker; null in the short run
    cancel_p99_s     from the call to the job's last slot being free, after the last fault but still under load

Exit status 1 when something was lost, duplicated or unexpected. `--calm SECONDS` strikes nothing and keeps every core
busy instead: who loses a lease there loses it to the load alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench._caller import Away, Caller
from bench._ledger import Ledger
from bench._machine import commit
from bench._parts import Parts, die_with_parent, lost_leases
from bench._receiver import Receiver
from bench._reclaims import Reclaims
from bench._storm import Storm, plan
from bench._users import Users
from common.accounts import Accounts
from common.store import connect

LEASE, GRACE = 5.0, 3.0  # seconds; the lease is the default one
START_LIMIT = 60.0  # seconds for all parts to be up
SETTLE_LIMIT = 60.0  # seconds after the last fault for everything to be over
OVERTIME = 120.0  # seconds past its time that a storm may go on to reach its number of items
PROGRESS = 5.0  # seconds between two lines
NOTES = 30  # of what is wrong, told in words; all are counted


class Run:
    """Everything that runs, from start to verdict."""

    def __init__(self, folder: Path, options: argparse.Namespace, stack: ExitStack):
        self.options = options
        self.chance = random.Random(options.seed)
        self.ledger = Ledger()
        self.receiver = Receiver(self.ledger)
        settings = {
            "LEASE": LEASE, "GRACE": GRACE, "ECHO_DELAY": 0.01, "SLOTS": 16, "WEBHOOK_ALLOW": self.receiver.address,
            "WEBHOOK_TIMEOUT": 2, "WEBHOOK_BACKOFF": 0.5,
            "MAX_ATTEMPTS": 20,  # by chance alone some item is hit three times; poison is another test
        }  # fmt: skip
        self.parts = Parts(folder, options.workers, {name: str(value) for name, value in settings.items()})
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
            key = Accounts(client).create_key("faults", "faults")
        self.caller = Caller(self.parts.web_port, key, self.ledger)
        self.reclaims = Reclaims(self.parts.server.url)
        self.reclaims.start()
        self._stack.callback(self.reclaims.stop)
        self.storm = Storm(
            self.parts,
            self.reclaims,
            self.chance,
            lease=LEASE,
            grace=GRACE,
            tell=self._say,
            note=lambda what: self.ledger.note("unexpected", what),
        )
        self._wait_until_up()
        wishes = random.Random(self.options.seed + 1)
        self.users = Users(self.caller, self.ledger, self.receiver.address, wishes, self.options.backlog)
        self.users.start()
        self._stack.callback(self.users.stop)

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            try:
                self.caller.call("GET", "/readyz")
                if all(worker.serving for worker in self.parts.workers):
                    return
            except Away:
                pass
            time.sleep(0.1)
        logs = "\n".join(part.log.decode()[-2000:] for part in self.parts.all)
        raise SystemExit(f"not up within {START_LIMIT:.0f} s:\n{logs}")

    def blow(self) -> None:
        """The storm, and overtime for the promised number of items."""
        self.storm.schedule(plan(self.chance, self.options.faults), self.options.seconds)
        limit = self.options.seconds + OVERTIME
        self.storm.run(limit, lambda: self._tell() and (self.storm.blowing or self.ledger.items < self.options.items))

    def cancel(self) -> list[float]:
        """How long cancels take once everybody is back, while others still submit."""
        self.storm.run(SETTLE_LIMIT, lambda: self._tell() and not all(worker.serving for worker in self.parts.workers))
        return self.users.measure_cancels(self.options.cancels, at_once=3)

    def settle(self) -> None:
        """Nobody submits any more; what was promised comes to its end."""
        self.users.stop_submitting()
        self.storm.run(SETTLE_LIMIT, lambda: self._tell() and bool(self.ledger.open() or self.ledger.untold()))

    def calm(self) -> None:
        """No faults, and load on every core that leaves nobody idle."""
        with busy_cores():
            self.storm.run(self.options.calm, self._tell)

    def check(self) -> None:
        """Look at everything once more, now that it is over."""
        self.users.stop()
        try:
            for order in list(self.ledger.orders.values()):
                self.caller.poll(order)
            self.ledger.check_end(self.caller.jobs())
        except Away as error:
            self.ledger.note("unexpected", f"away in calm weather: {error}")
        self._tell()

    def _tell(self) -> bool:
        """What is wrong, at once; a line of progress now and then. Always True, so that it can stand in a condition."""
        for note in self.ledger.notes[self._noted : NOTES]:
            self._say(note)
            self._noted += 1
        if time.monotonic() - self._told_at > PROGRESS:
            self._told_at = time.monotonic()
            self._say(
                f"{self.storm.faults.total()} faults, {self.ledger.items} items promised, {self.ledger.seen} seen, "
                f"{self.ledger.events} events, {self.ledger.deliveries} webhooks, "
                f"{len(self.reclaims.seconds) + len(self.reclaims.seconds_after_redis)} reclaims, "
                f"{dict(self.ledger.counts)}"
            )
        return True

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._begun:6.1f} s  {what}", flush=True)


def run(options: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promptmill-faults-")))
        this = Run(options.keep or folder, options, stack)
        this.start()
        if options.calm:
            this.calm()
        else:
            this.blow()
        cancels = this.cancel()
        this.settle()
        this.check()
        lost_alive = lost_leases(this.parts) - this.reclaims.struck
        reclaims = this.reclaims.seconds
        return {
            "bench": "faults",
            "faults": dict(sorted(this.storm.faults.items())),
            "items": this.ledger.items,
            **this.ledger.counts,
            "reclaim_p50_s": percentile(reclaims, 50),
            "reclaim_p99_s": percentile(reclaims, 99),
            "reclaim_max_s": percentile(reclaims + this.reclaims.seconds_after_redis, 100),
            "false_reclaims": None if options.short else len(lost_alive),
            "cancel_p99_s": percentile(cancels, 99),
            "commit": commit(),
        }


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest value that at least `percent` of them do not exceed; None of no values."""
    if not values:
        return None
    return round(sorted(values)[-(-len(values) * percent // 100) - 1], 3)


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


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="520 faults over 100,000 items in 13 minutes")
    parser.add_argument("--calm", type=float, default=0.0, metavar="SECONDS", help="no faults, all cores busy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--items", type=int)
    parser.add_argument("--seconds", type=float, help="in which the faults strike")
    parser.add_argument("--cancels", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--backlog", type=int, help="items accepted and not yet seen to end, at most")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and data")
    options = parser.parse_args(arguments)
    options.short = not options.long and not options.calm
    defaults = {"faults": 14, "items": 1000, "seconds": 15.0, "cancels": 6, "workers": 3, "backlog": 600}
    if not options.short:
        defaults = {"faults": 520, "items": 100_000, "seconds": 780.0, "cancels": 100, "workers": 4, "backlog": 1500}
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parts are ended then, too
    answer = run(parse())
    print(json.dumps(answer))
    sys.exit(1 if any(answer[kind] for kind in ("lost", "duplicated", "unexpected")) else 0)


if __name__ == "__main__":
    main()
