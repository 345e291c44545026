"""Counts what tenants and addresses keep open at once, over all web processes, and refuses what is
too much.

Redis has the count of each process under a lease: what a killed process had is free again when the
lease ends. Between two renewals a process reports only what exceeds the permits it has. Knows
nothing of connections and requests.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis

from common.errors import PromptmillError, TooMany
from common.store.connection import redis_errors
from common.store.scripts import Scripts

LEASE = 5.0  # seconds
RENEW = 1.0  # seconds between two renewals
SOON = 0.1  # seconds until Redis hears of permits that were given back

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """What is kept open: `what` it is, in the plural, for messages. `ahead` permits are taken along
    with those that are needed, so that few have to wait for Redis; another process may find so many
    less."""

    name: str
    what: str
    ahead: int = 0


class Permits:
    """One per process. Its thread starts with the first permit: after a server's fork, and only
    where it is wanted."""

    def __init__(self, client: redis.Redis):
        self._scripts = Scripts(client)
        self._process = secrets.token_hex(8)
        self._open: Counter[tuple[Kind, str]] = Counter()
        self._held: dict[tuple[Kind, str], int] = {}  # what Redis knows of, at least what is open
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # never held while Redis is asked
        self._fewer = threading.Event()
        self._told = False  # that something is open

    @contextmanager
    def hold(self, kind: Kind, owner: str, most: int) -> Iterator[None]:
        """Within, the owner has one more open.

        Raises:
            TooMany: it has `most` already.
            Unavailable: Redis cannot be asked.
        """
        give_back = self.take(kind, owner, most)
        try:
            yield
        finally:
            give_back()

    def take(self, kind: Kind, owner: str, most: int) -> Callable[[], None]:
        """The same, until what this answers is called, once."""
        of = (kind, owner)
        with self._lock:
            self._start()
            self._open[of] += 1
            wanted = self._open[of]
            known = wanted <= self._held.get(of, 0)
        try:
            if not known:
                self._ask(of, wanted, most)
        except PromptmillError:
            self._give_back(of)
            raise
        return lambda: self._give_back(of)

    def _ask(self, of: tuple[Kind, str], wanted: int, most: int) -> None:
        kind, owner = of
        given = 0
        if wanted <= most:
            with redis_errors():
                given = self._scripts.permit(
                    process=self._process,
                    of=f"{kind.name} {owner}",
                    wanted=wanted + kind.ahead,
                    enough=wanted,
                    most=most,
                    lease=int(LEASE * 1000),
                )
        if given < wanted:
            raise TooMany(
                f"{most} {kind.what} are open already, as many as may be at once",
                code="too_many_open",
            )
        with self._lock:
            self._held[of] = max(self._held.get(of, 0), given)

    def _give_back(self, of: tuple[Kind, str]) -> None:
        with self._lock:
            self._open[of] -= 1
        if not of[0].ahead:
            self._fewer.set()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="permits", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            if self._fewer.wait(RENEW):
                time.sleep(SOON)  # many end together
                self._fewer.clear()
            try:
                self._renew()
            except PromptmillError as error:
                log.warning("could not renew what is open: %s", error)
            except Exception:  # without this thread no permit would last
                log.exception("could not renew what is open")

    def _renew(self) -> None:
        """Tell Redis what is open now."""
        with self._lock:
            self._open = +self._open  # without what has come to nothing
            self._held = {of: self._still_held(of, count) for of, count in self._open.items()}
            told = [
                part
                for (kind, owner), count in self._held.items()
                for part in (f"{kind.name} {owner}", count)
            ]
        if told or self._told:
            with redis_errors():
                self._scripts.hold_permits(*told, process=self._process, lease=int(LEASE * 1000))
            self._told = bool(told)

    def _still_held(self, of: tuple[Kind, str], count: int) -> int:
        """What is open and what was got ahead; never more than was given."""
        return max(count, min(self._held.get(of, 0), count + of[0].ahead))
