"""How long recovery takes after every way in which Redis can go away, under load: `make outages`.

The processes, load and ledger of `bench.faults`, with one outage after the other, each of which
strikes all processes at once:

    kill          SIGKILL, started again three seconds later
    blackhole     nothing passes for a minute, and no connection made before or meanwhile ever
                  works again
    straggle      the same for less than that, and the processes get back one after the other
    full          `maxmemory` is reached
    read_only     writes are refused, as by a replica after a failover
    clock_on      the server's clock jumps forward by 30 s
    clock_back    and back (both only on Linux with a C compiler)

The last line is JSON: `outages` are the seconds from the end of each until a job that is sent then
is done and every worker has exchanged twice; `items`, `lost`, `duplicated`, `unexpected` as in
`bench.faults`; `reaped` counts workers that lost their lease, none of which had died. Exit status 1
unless the last four are 0 and no outage took more than 10 s (`--limit`).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import redis

from bench.lib.clock import Clock
from bench.lib.ledger import Order
from bench.lib.machine import commit
from bench.lib.parts import lost_leases
from bench.lib.trial import Trial
from common.store import keys

LIMIT = 10.0  # seconds after which everything works again
PATIENCE = 60.0  # seconds after which we look no longer
CALM = 2.0  # seconds of work between two outages
APART = 1.0  # seconds between the returns of two parts
JUMP = 30  # seconds


class Outages:
    """Each method begins one and yields; going on ends it. `black` and `short` are how many seconds
    they last."""

    def __init__(self, trial: Trial, clock: Clock | None, *, black: float, short: float):
        self._trial = trial
        self._clock = clock
        self._black, self._short = black, short
        self._parts = trial.parts
        self._client = redis.Redis.from_url(trial.parts.server.url, socket_timeout=5)

    def all(self) -> dict[str, Callable[[], None]]:
        found: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "blackhole": partial(self._blackhole, self._black, 0.0),
            "straggle": partial(self._blackhole, self._short + 5, APART),
            "full": self._full,
            "read_only": self._read_only,
        }
        if self._clock:
            found |= {
                "clock_on": partial(self._jump, JUMP),
                "clock_back": partial(self._jump, -JUMP),
            }
        return found

    def _pass(self, seconds: float) -> None:
        self._trial.injector.run(seconds, self._trial.tell)

    def _kill(self) -> None:
        self._parts.server.kill()
        self._pass(3.0)
        self._parts.server.start()

    def _blackhole(self, seconds: float, apart: float) -> None:
        for part in self._parts.all:
            part.proxy.hold()
        self._pass(seconds)
        for part in self._parts.all:
            part.proxy.resume()
            self._pass(apart)

    def _full(self) -> None:
        self._client.config_set("maxmemory", 1_000_000)
        self._pass(self._short)
        self._client.config_set("maxmemory", 0)

    def _read_only(self) -> None:
        self._client.replicaof("127.0.0.1", "9")  # the discard port: nobody is there to copy from
        self._pass(self._short)
        self._client.replicaof("NO", "ONE")

    def _jump(self, seconds: int) -> None:
        assert self._clock
        self._clock.jump(seconds)

    def recovery(self) -> float:
        """Seconds until a job sent now is done and every worker has exchanged twice."""
        begun, before = time.monotonic(), self._calls()
        probe = Order(f"p{begun:.0f}", 4, 5, 5, priority=10)
        done = threading.Event()
        threading.Thread(target=self._see_through, args=(probe, done), daemon=True).start()

        def well() -> bool:
            calls = self._calls()
            return done.is_set() and all(
                calls.get(name, 0) >= number + 2 for name, number in before.items()
            )

        self._trial.injector.run(PATIENCE, lambda: self._trial.tell() and not well())
        return time.monotonic() - begun if well() else PATIENCE

    def _calls(self) -> dict[str, int]:
        """The number of each live worker's last exchange, by incarnation."""
        found = {}
        for worker in self._parts.workers:
            number = self._client.hget(keys.worker(worker.incarnation), "call")
            found[worker.incarnation] = int(number or 0)
        return found

    def _see_through(self, probe: Order, done: threading.Event) -> None:
        self._trial.client.submit(probe, self._trial.receiver.address)
        while probe.view.get("counts", {}).get("succeeded") != probe.items:
            probe.view = self._trial.client.insist("GET", f"/v1/jobs/{probe.job_id}").json()
            time.sleep(0.02)
        done.set()


def run(options: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="promptmill-outages-"))
        )
        clock = Clock(folder) if Clock.usable else None
        trial = Trial(options.keep or folder, options, stack, clock.env if clock else None)
        trial.start()
        outages = Outages(trial, clock, black=options.black, short=options.short)
        seconds: dict[str, float] = {}
        for name, strike in outages.all().items():
            if options.only and name not in options.only:
                continue
            trial.injector.run(CALM, trial.tell)
            trial.say(f"{name} begins")
            strike()
            seconds[name] = round(outages.recovery(), 2)
            trial.say(f"{name}: all well {seconds[name]} s after its end")
        trial.settle()
        trial.check()
        return {
            "bench": "outages",
            "outages": seconds,
            "items": trial.ledger.items,
            **trial.ledger.counts,
            "reaped": len(lost_leases(trial.parts)),
            "commit": commit(),
        }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--black", type=float, default=60.0, help="seconds of the black hole")
    parser.add_argument("--short", type=float, default=5.0, help="seconds of the other outages")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="seconds an outage may take to be over"
    )
    parser.add_argument("--only", nargs="*", help="these outages only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and data")
    return parser.parse_args(
        arguments, argparse.Namespace(workers=3, slots=8, backlog=600, fsync="always")
    )


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parts are ended then, too
    arguments = parse()
    answer = run(arguments)
    print(json.dumps(answer))
    failed = any(answer[kind] for kind in ("lost", "duplicated", "unexpected", "reaped"))
    sys.exit(1 if failed or max(answer["outages"].values()) > arguments.limit else 0)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
