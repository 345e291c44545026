"""Renews the claim on an evaluation in a thread while the evaluation is worked at."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from common.errors import Unavailable
from common.store.evaluation_work import Claimed, EvaluationWork

MOST = 300.0  # seconds without progress; then others may try, and after some tries it fails

log = logging.getLogger(__name__)


class Lost(Exception):
    """Another process has the claim by now, or what was claimed is gone."""


class ClaimKeeper:
    """Used in a `with` statement, around the work. Three renewals fit in a lease."""

    def __init__(self, work: EvaluationWork, claimed: Claimed):
        self._work = work
        self._claimed = claimed
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
        while not self._over.wait(self._work.lease / 3) and time.monotonic() < self._until:
            try:
                if not self._work.hold(self._claimed):
                    self._lost = True
                    return
            except Unavailable as error:
                log.warning("a claim is not renewed: %s", error)
