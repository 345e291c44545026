"""Does, in the background of every web process, work of which each piece is claimed in the store
under a lease: a piece whose process died is claimed by another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from common.errors import Unavailable

PAUSE = 0.5  # seconds between two searches for what waits

Claim = TypeVar("Claim")

log = logging.getLogger(__name__)


class ClaimedWork(Generic[Claim]):
    """One per process and kind of work, which is called `name`. `claim` answers a piece that waits,
    or None; `attempt` does it; `about` says in the log which one it is. At most `most` are done at
    once, each in a thread."""

    def __init__(
        self,
        name: str,
        claim: Callable[[], Claim | None],
        attempt: Callable[[Claim], None],
        about: Callable[[Claim], dict[str, str]],
        most: int,
    ):
        self._name = name
        self._claim, self._attempt, self._about = claim, attempt, about
        self._places = threading.Semaphore(most)

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"{self._name} claims", daemon=True).start()

    def do_next(self) -> bool:
        """Do one piece that waits; False if none does."""
        claim = self._claim()
        if claim is not None:
            self._attempt(claim)
        return claim is not None

    def _run(self) -> None:
        while True:
            self._places.acquire()
            claim = self._next()
            if claim is None:
                self._places.release()
                time.sleep(PAUSE)
            else:
                threading.Thread(
                    target=self._do, args=(claim,), name=self._name, daemon=True
                ).start()

    def _next(self) -> Claim | None:
        try:
            return self._claim()
        except Unavailable as error:
            log.warning("%s waits: %s", self._name, error)
        except Exception:  # the thread must go on after an unexpected error
            log.exception("nothing could be claimed for %s; trying again", self._name)
        return None

    def _do(self, claim: Claim) -> None:
        try:
            self._attempt(claim)
        except Unavailable as error:
            log.warning("%s waits: %s", self._name, error, extra=self._about(claim))
        except Exception:
            log.exception(
                "%s crashed; it is tried again when its claim has expired",
                self._name,
                extra=self._about(claim),
            )
        finally:
            self._places.release()
