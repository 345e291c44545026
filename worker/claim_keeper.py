"""Renews a claim in a thread, on an evaluation or a comparison, while that is worked at."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from common.errors import Unavailable

MOST = 300.0  # seconds without progress; then others may try, and after some tries it fails

log = logging.getLogger(__name__)


class Lost(Exception):
    """Another process has the claim by now, or what was claimed is gone."""


class ClaimKeeper:
    """Used in a `with` statement, around the work. `hold` renews the claim for `lease` seconds and
    answers whether it was there still; three renewals fit in a lease."""

    def __init__(self, hold: Callable[[], bool], lease: float):
        self._hold = hold
        self._lease = lease
        self._lost = False
        self._over = threading.Event()
        self._until = time.monotonic() + MOST
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)

    def __enter__(self) -> ClaimKeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def got_further(self) -> None:
        """Something was done that need not be done again.

        Raises:
            Lost: the claim is another's by now.
        """
        if self._lost:
            raise Lost
        self._until = time.monotonic() + MOST

    def _renew(self) -> None:
        while not self._over.wait(self._lease / 3) and time.monotonic() < self._until:
            try:
                if not self._hold():
                    self._lost = True
                    return
            except Unavailable as error:
                log.warning("a claim is not renewed: %s", error)
