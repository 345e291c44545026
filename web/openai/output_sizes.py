"""Measures the output files of batches while they grow, in the background of every web process.

Their lines are made when they are read (`batch_output.py`), so that their size is known only after
all lines were made. This is done as items finish, so that a list of files does not have to wait for
it. If two processes measure one batch, they do the same work twice, without harm.
"""

from __future__ import annotations

import logging
import threading
import time

from common.errors import NotFound, Unavailable
from common.store.batches import job_of
from common.store.records import Unreadable, reading
from web.openai.batch_output import measure
from web.services.services import Services

PAUSE = 1.0  # seconds between two searches for batches to measure
AGAIN = 2.0  # seconds until a running batch is measured again
TURN = 1.0  # seconds that one batch is measured; then the batch of another tenant follows

log = logging.getLogger(__name__)


class OutputSizer:
    """One per process. `start` runs it on a thread; `measure_due` measures at most one batch."""

    def __init__(self, services: Services):
        self._services = services

    def start(self) -> None:
        threading.Thread(target=self._run, name="sizer", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                while self.measure_due():
                    pass
            except Unavailable as error:
                log.warning("files of batches are not measured: %s", error)
            except Exception:
                # The thread must go on; this batch is measured when somebody lists its files.
                log.exception("the files of a batch could not be measured")
            time.sleep(PAUSE)

    def measure_due(self) -> bool:
        """Measure the files of one batch as far as they have grown; False if none is due."""
        found = self._services.batches.claim_sizing(AGAIN)
        if found is None:
            return False
        batch_id, tenant = found
        try:
            batch = self._services.batches.get(batch_id)
            job = self._services.store.job(job_of(batch_id))
            with reading(batch_id):
                batch = measure(self._services, batch, job, TURN)
                whole = job.status.terminal and batch.sized == job.total
        except (NotFound, Unreadable) as error:
            if isinstance(error, Unreadable):
                log.warning(
                    "the files of a batch are not measured: %s", error, extra={"batch": batch_id}
                )
            whole = True
        if whole:
            self._services.batches.end_sizing(batch_id, tenant)
        return True
