"""Injects a seeded schedule of faults into running parts, and repairs what it broke.

Everything runs on one thread, the main one; what is to come later waits in a queue ordered by time.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from bench.lib.parts import Part, Parts
from bench.lib.reclaims import Reclaims

# Fault and how often it comes, relative to the others.
WEIGHTS = {
    "kill_worker": 26,  # SIGKILL
    "drain_worker": 12,  # SIGTERM, as in a rolling restart
    "freeze_worker": 9,  # SIGSTOP past the lease, then SIGCONT
    "cut_off_worker": 5,  # nothing passes between it and Redis for longer than the lease
    "drop_replies": 26,  # scripts run, their answers are lost
    "drop_answers": 8,  # the web tier does what it is asked, its answer is lost
    "refuse_replies": 8,  # scripts run, and the worker is told that it may not run them
    "kill_redis": 7,
    # What workers did last was acknowledged and is gone, as after a failover to a lagging replica.
    "lose_tail": 5,
    "kill_web": 7,
    "kill_webhooks": 4,
    "kill_evaluator": 5,
}
LOOK = 0.05  # seconds
PATIENCE = 0.3  # seconds until a fault that finds nothing to strike tries again
DRAIN_LIMIT = 8.0  # seconds on top of the grace period that a drained worker may take to end


def plan(chance: random.Random, count: int) -> list[str]:
    """`count` faults in the order in which they come; each kind at least once if there are
    enough."""
    kinds = list(WEIGHTS)
    drawn = chance.choices(kinds, weights=list(WEIGHTS.values()), k=max(0, count - len(kinds)))
    faults = (kinds + drawn)[:count] if count >= len(kinds) else drawn
    chance.shuffle(faults)
    return faults


class FaultInjector:
    """Injects faults into `parts`; everything it stops it starts again.

    `tell` is called with each fault, `note` with what no part should do; `lease` and `grace` are
    those of the parts, in seconds.
    """

    def __init__(
        self,
        parts: Parts,
        reclaims: Reclaims,
        chance: random.Random,
        *,
        lease: float,
        grace: float,
        tell: Callable[[str], None],
        note: Callable[[str], None],
    ):
        self.faults: Counter[str] = Counter()
        self.drains: list[float] = []  # seconds from SIGTERM to the end of the process
        self._parts = parts
        self._reclaims = reclaims
        self._chance = chance
        self._lease = lease
        self._grace = grace
        self._tell = tell
        self._note = note
        self._over = False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def schedule(self, faults: list[str], seconds: float) -> None:
        """Spread the faults over the time, unevenly."""
        moments = sorted(self._chance.uniform(0, seconds) for _ in faults)
        for kind, moment in zip(faults, moments, strict=True):
            self._in(moment, partial(self._strike, kind))

    def run(self, seconds: float, going: Callable[[], bool] = lambda: True) -> None:
        """Inject, repair and watch the parts for that long, or while `going` says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and going():
            self._tend()
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()
            time.sleep(LOOK)

    @property
    def busy(self) -> bool:
        """Whether a fault is still to be injected or repaired."""
        return bool(self._later)

    def end(self) -> None:
        """Inject no more; what is broken is repaired when its time comes."""
        self._over = True

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._number), action))

    def _strike(self, kind: str) -> None:
        if self._over:
            return
        action: Callable[[], str] = getattr(self, f"_{kind}")
        if struck := action():
            self.faults[kind] += 1
            self._tell(f"{kind.replace('_', ' ')}: {struck}")
        else:
            self._in(PATIENCE, partial(self._strike, kind))

    def _tend(self) -> None:
        """Start drained parts again, and those that ended without a fault."""
        for part in self._parts.all:
            if part.exit_code is None:
                self._check_drain(part)
            elif part.draining_since is not None and part.exit_code == 0:
                self.drains.append(time.monotonic() - part.draining_since)
                self._reclaims.excuse(part.incarnation)
                part.start()
            elif not part.down:
                part.down = True
                self._note(
                    f"{part.name} ended by itself with exit code {part.exit_code}: "
                    f"{part.last_words()}"
                )
                self._in(1.0, part.start)

    def _check_drain(self, part: Part) -> None:
        limit = self._grace + DRAIN_LIMIT
        if part.draining_since is not None and time.monotonic() - part.draining_since > limit:
            self._note(
                f"{part.name} did not end within {limit:.0f} s of SIGTERM: {part.last_words()}"
            )
            self._kill(part)

    # The faults. Each returns the name of what it struck, '' if there was nothing to strike.

    def _worker(self) -> Part | None:
        """One that is at work, as long as another is left: without anybody up, leases are not taken
        away either."""
        serving = [part for part in self._parts.workers if part.serving]
        working = [part for part in serving if self._reclaims.holding(part.incarnation)]
        return self._chance.choice(working) if working and len(serving) > 1 else None

    def _kill_worker(self) -> str:
        if worker := self._worker():
            self._kill(worker)
            self._reclaims.strike(worker.incarnation)
        return worker.name if worker else ""

    def _kill(self, part: Part) -> None:
        part.kill()
        self._in(self._chance.uniform(0.1, 2.0), part.start)

    def _drain_worker(self) -> str:
        if worker := self._worker():
            self._reclaims.excuse(worker.incarnation)
            worker.drain()
        return worker.name if worker else ""

    def _freeze_worker(self) -> str:
        if worker := self._worker():
            worker.freeze()
            self._revive_later(worker, worker.thaw)
        return worker.name if worker else ""

    def _cut_off_worker(self) -> str:
        if worker := self._worker():
            worker.cut_off()
            self._revive_later(worker, worker.reconnect)
        return worker.name if worker else ""

    def _revive_later(self, worker: Part, revive: Callable[[], None]) -> None:
        """Past its lease, and the time by which its items must have gone on."""
        incarnation = worker.incarnation
        self._reclaims.strike(incarnation)

        def now() -> None:
            self._reclaims.revive(incarnation)
            revive()

        self._in(self._lease + self._chance.uniform(2.5, 5.0), now)

    def _drop_replies(self) -> str:
        part = self._chance.choice(self._parts.all)
        part.proxy.drop_replies(self._chance.randint(1, 2))
        return part.name

    def _refuse_replies(self) -> str:
        part = self._chance.choice(self._parts.workers)
        part.proxy.refuse_replies(self._chance.randint(1, 12))
        return part.name

    def _lose_tail(self) -> str:
        """No user sees what is lost, or it would be a broken promise: web tier and webhook worker
        are cut off."""
        server, cut_off = self._parts.server, [self._parts.web.proxy, self._parts.webhooks.proxy]
        if not server.up or any(proxy.holding for proxy in cut_off):
            return ""
        for proxy in cut_off:
            proxy.hold()
        log = server.log()
        length, seconds = log.stat().st_size, self._chance.uniform(0.2, 1.0)

        def set_back() -> None:
            if not server.up:  # killed meanwhile: what is lost is lost once it is up again
                self._in(LOOK, set_back)
                return
            server.kill()
            os.truncate(log, length)
            for worker in self._parts.workers:
                self._reclaims.excuse(worker.incarnation)
            server.start()
            for proxy in cut_off:
                proxy.resume()

        self._in(seconds, set_back)
        return f"{seconds:.1f} s of it"

    def _drop_answers(self) -> str:
        self._parts.front.drop_replies(1)
        return "web"

    def _kill_redis(self) -> str:
        server = self._parts.server
        if not server.up:
            return ""
        server.kill()
        seconds = self._chance.uniform(0.1, 3.0)
        self._in(seconds, server.start)
        return f"for {seconds:.1f} s"

    def _kill_web(self) -> str:
        return self._kill_part(self._parts.web)

    def _kill_webhooks(self) -> str:
        return self._kill_part(self._parts.webhooks)

    def _kill_evaluator(self) -> str:
        return self._kill_part(self._parts.evaluator)

    def _kill_part(self, part: Part) -> str:
        if part.exit_code is not None:
            return ""
        self._kill(part)
        return part.name
