"""Measures how long the store takes to give away what a struck worker held."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis

from common.store import keys

LOOK = 0.02  # seconds between two looks
DUE = 7.0  # seconds after which nothing should be a struck worker's any more


class Reclaims:
    """Watches incarnations from the moment they were struck until nothing is theirs.

    `seconds` are of those during which Redis stayed up. While it is away nobody can be reclaimed,
    and every lease is renewed once it is back: then the clock starts anew, and what it says goes
    into `seconds_after_redis`.
    """

    def __init__(self, url: str):
        self.seconds: list[float] = []
        self.seconds_after_redis: list[float] = []
        # All that may lose their lease, whether they held something or not.
        self.struck: set[str] = set()
        self._client = redis.Redis.from_url(url, socket_timeout=2, retry=None)
        self._watched: dict[str, _Watch] = {}  # by incarnation
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reclaims")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._client.close()

    def holding(self, incarnation: str) -> bool:
        """Whether it holds items now, or may: nobody knows while Redis is away."""
        try:
            return bool(self._client.exists(keys.held(incarnation)))
        except redis.RedisError:
            return True

    def strike(self, incarnation: str) -> None:
        """Its process was just killed, frozen or cut off."""
        with self._lock:
            self.struck.add(incarnation)
            self._watched[incarnation] = _Watch(time.monotonic())

    def excuse(self, incarnation: str) -> None:
        """It was told to leave, and may lose its lease if Redis is away just then; that is no
        sample."""
        with self._lock:
            self.struck.add(incarnation)

    def revive(self, incarnation: str) -> None:
        """Its process can go on. If it kept its lease so long, that time at least is counted."""
        with self._lock:
            watch = self._watched.pop(incarnation, None)
            if watch and watch.age > DUE:
                self._count(watch)

    def _run(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                self._look()
            except redis.RedisError:
                with self._lock:
                    for watch in self._watched.values():
                        watch.since, watch.redis_was_away = time.monotonic(), True

    def _look(self) -> None:
        for incarnation, watch in list(self._watched.items()):
            if self._client.exists(keys.held(incarnation)):
                watch.held = True
            elif watch.held or self._client.zscore(keys.WORKERS, incarnation) is None:
                with self._lock:
                    if self._watched.pop(incarnation, None) and watch.held:
                        self._count(watch)

    def _count(self, watch: _Watch) -> None:
        samples = self.seconds_after_redis if watch.redis_was_away else self.seconds
        samples.append(watch.age)


@dataclass
class _Watch:
    since: float  # monotonic seconds
    held: bool = False  # it was seen to hold something: a worker that held nothing is no sample
    redis_was_away: bool = False

    @property
    def age(self) -> float:
        return time.monotonic() - self.since
