"""Who waits for a job to change: one reader of `pm:changes` and `pm:tokens` per process wakes them
all.

A wake-up says "look again", nothing more; what streamed items say comes along. After a lost
connection everybody is woken, and told that tokens were missed, so nothing is missed for long.
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
MOST_TOLD = 2000  # entries kept for a reader that is behind; then it looks at what the store has
LOOK = 1.0  # seconds between two looks whether a client is still there
RECONNECT = 1.0  # seconds

log = logging.getLogger(__name__)


class Watch:
    """One waiter's flag. `ended` says why it is to wait no more, once there is a reason.

    `version` rises with each change, the same for all who wait for a job: what was read at one is
    good for all. `status` is the job's as last heard of, None if that may be old. Tokens are
    entries (`job:{id}:events`) by item that came since they were taken; with `missed` there were
    others.
    """

    def __init__(self, version: int) -> None:
        self._flag = threading.Event()
        self._tokens: list[tuple[int, bytes]] = []
        self.version = version
        self.ended: PromptmillError | None = None
        self.gone: Callable[[], bool] = lambda: False  # whether the client is
        self.missed = True
        self.status: str | None = None

    def wait(self, seconds: float) -> bool:
        """True if the job changed since the last call, or within the time given. Look before the
        first call."""
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

    def hear(self, index: int, entry: bytes) -> None:
        if len(self._tokens) < MOST_TOLD:
            self._tokens.append((index, entry))
        else:
            self.missed = True
        self._flag.set()

    def take_tokens(self) -> list[tuple[int, bytes]]:
        tokens, self._tokens = self._tokens, []
        return tokens


class Changes:
    """The reader's thread starts with the first waiter: after a server's fork, and only where it is
    wanted."""

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
    def watch(self, job_id: str, chat: bool = False) -> Iterator[Watch]:
        """Hear of changes of a job from here on. Some of what a process can serve is kept for
        chats.

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
        """Nobody waits any more; the process is about to end."""
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
            channel.subscribe(keys.CHANGES, keys.TOKENS)
            channel.get_message(timeout=1.0)
            self._subscribed.set()
            with self._lock:
                self._wake_all()
            while not self._closing:
                message = channel.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["channel"] == keys.TOKENS.encode():
                    self._tell_tokens(message["data"])
                else:
                    self._tell(message["data"].decode())

    def _tell(self, message: str) -> None:
        job_id, _, status = message.partition(" ")
        with self._lock:
            self._version += 1
            for watch in self._watches.get(job_id, ()):
                watch.status = status or None
                watch.wake(self._version)

    def _tell_tokens(self, message: bytes) -> None:
        job_id, index, entry = message.split(b" ", 2)
        with self._lock:
            for watch in self._watches.get(job_id.decode(), ()):
                watch.hear(int(index), entry)
