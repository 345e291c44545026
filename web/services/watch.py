"""Wakes the requests that wait for a job to change: one thread per process reads `pm:changes` and
`pm:said` for all of them.

A wake-up says only "look again"; tokens of streamed items come along with it. After a lost
connection every request is woken and told that tokens were missed, so that it looks into the store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from common.errors import PromptmillError, Unavailable
from common.store import keys
from common.store.connection import connect

MOST_WATCHES = 3000  # chats, long-polls and event streams of one process
MOST_STREAMS = 1500  # of these, long-polls and event streams: the others are kept for chats
# Kept for a request that is behind, and those of one message; after that it has to ask the store.
MOST_ENTRIES = 2000
LOOK = 1.0  # seconds between two looks whether a client is still there
RECONNECT = 1.0  # seconds

log = logging.getLogger(__name__)


class Watch:
    """What one request knows of the job that it waits for.

    `ended` is the reason to stop waiting, once there is one. `version` rises with each change, by
    the same number for every request that waits for the job, so that what one of them read can be
    shared. `status` is the job's as last published, None if it may have changed since. Entries with
    tokens (`job:{id}:events`), by item, are kept until they are taken; if `missed`, some came that
    are not among them.
    """

    def __init__(self, version: int) -> None:
        self._flag = threading.Event()
        self._tokens: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()  # guards them
        self.version = version
        self.ended: PromptmillError | None = None
        self.gone: Callable[[], bool] = lambda: False  # whether the client has hung up
        self.missed = True
        self.status: str | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for so many seconds at most; whether the job changed since the last call. Read the
        job before the first call."""
        end = time.monotonic() + seconds
        while not (changed := self._flag.wait(max(0.0, min(LOOK, end - time.monotonic())))):
            if self.gone():
                self.end(Unavailable("the client hung up"))
            elif time.monotonic() >= end:
                break
        self._flag.clear()
        return changed

    def end(self, why: PromptmillError) -> None:
        self.ended = self.ended or why
        self._flag.set()

    def wake(self, version: int, missed: bool = False) -> None:
        self.version = version
        if missed:
            self.missed, self.status = True, None
        self._flag.set()

    def receive(self, entries: list[tuple[int, bytes]]) -> None:
        with self._lock:
            if len(self._tokens) < MOST_ENTRIES:
                self._tokens.extend(entries)
            else:
                self.missed = True
        self._flag.set()

    def take_tokens(self) -> list[tuple[int, bytes]]:
        with self._lock:
            tokens, self._tokens = self._tokens, []
            return tokens


class Watches:
    """All watches of a process. The thread that reads the channels starts with the first watch:
    after the server has forked, and only in processes that need it."""

    def __init__(self, redis_url: str):
        self._url = redis_url
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._count = 0
        self._streams = 0  # of them, those that are no chats
        self._version = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()
        self._closing = False

    @contextmanager
    def open(self, job_id: str, chat: bool = False) -> Iterator[Watch]:
        """Watch a job from here on. A part of what a process can serve is kept for chats.

        Raises:
            Unavailable: this process serves as many waiters as it can, or is about to end.
        """
        with self._lock:
            if (
                self._closing
                or self._count >= MOST_WATCHES
                or (not chat and self._streams >= MOST_STREAMS)
            ):
                raise Unavailable(
                    "too many clients wait here already; poll instead, or try again in a few "
                    "seconds"
                )
            self._start()
            watch = Watch(self._version)
            self._watches[job_id].add(watch)
            self._count += 1
            self._streams += not chat
        self._subscribed.wait(1.0)
        try:
            yield watch
        finally:
            with self._lock:
                self._count -= 1
                self._streams -= not chat
                self._watches[job_id].discard(watch)
                if not self._watches[job_id]:
                    del self._watches[job_id]

    def close(self) -> None:
        """End all watches: the process is about to end."""
        with self._lock:
            self._closing = True
            for watches in self._watches.values():
                for watch in watches:
                    watch.end(Unavailable("this server is about to end; send the request again"))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
            self._thread.start()

    def _wake_all(self) -> None:
        self._version += 1
        for watches in self._watches.values():
            for watch in watches:
                watch.wake(self._version, missed=True)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._listen()
            except redis.RedisError as error:
                self._subscribed.clear()
                if not self._closing:
                    log.warning("lost the channel of changes: %s", error)
                    time.sleep(RECONNECT)

    def _listen(self) -> None:
        with connect(self._url) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(keys.CHANGES, keys.SAID)
            channel.get_message(timeout=1.0)
            self._subscribed.set()
            with self._lock:
                self._wake_all()
            while not self._closing:
                message = channel.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["channel"] == keys.SAID.encode():
                    self._hand_out(message["data"])
                else:
                    self._wake(message["data"].decode())

    def _wake(self, message: str) -> None:
        job_id, _, status = message.partition(" ")
        with self._lock:
            self._version += 1
            for watch in self._watches.get(job_id, ()):
                watch.status = status or None
                watch.wake(self._version)

    def _hand_out(self, message: bytes) -> None:
        job_id, lines = message.split(b"\n", 1)
        with self._lock:
            watches = self._watches.get(job_id.decode())
            entries = _entries(lines) if watches else []
            for watch in watches or ():
                watch.receive(entries)


def _entries(lines: bytes) -> list[tuple[int, bytes]]:
    """What items said, as `common/store/lua/stream.lua` writes it: an item's index and its entry a
    line."""
    pairs = (line.split(b" ", 1) for line in lines.split(b"\n"))
    return [(int(index), entry) for index, entry in pairs]
