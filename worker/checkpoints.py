"""Checkpoints: what the rows of this worker have generated, kept in the store so that a lost worker
costs seconds, not items.

One blob a beat holds the new tokens of rows older than a few seconds; every so often a whole one
replaces what was kept before, so that tokens of rows long finished do not pile up.
"""

from __future__ import annotations

import time

from common.store.fleet import Checkpoint, Incarnation
from worker.claims import Claim
from worker.engine.protocol import Engine
from worker.token_publisher import Streams

MIN_AGE = 5.0  # seconds; younger rows are cheaper to run again than to keep
WHOLE_EVERY = 30  # blobs


class Checkpoints:
    """Of one incarnation; remembers how many tokens of each continuation the store has."""

    def __init__(self) -> None:
        self._kept: dict[str, list[int]] = {}  # by request id
        # Request ids the store knows to have got further than where they started.
        self._grown: set[str] = set()
        self._blobs = 0

    def keep(
        self, incarnation: Incarnation, engine: Engine, claims: dict[str, Claim], streams: Streams
    ) -> None:
        """Store what is new. `claims` are by request id.

        Raises:
            Unavailable: the server is away; what was not stored is stored with the next beat.
        """
        old = time.monotonic() - MIN_AGE
        rows = {
            request_id: claims[request_id]
            for request_id in claims
            if claims[request_id].started < old
        }
        if not rows:
            return
        whole = self._blobs % WHOLE_EVERY == 0
        tokens = {
            request_id: lists
            for request_id, lists in engine.checkpoint().items()
            if request_id in rows and any(lists)
        }
        blob: Checkpoint = {}
        for request_id, lists in tokens.items():
            had = [0] * len(lists) if whole else self._kept.get(request_id, [0] * len(lists))
            if any(len(ids) > count for ids, count in zip(lists, had, strict=True)):
                claim = rows[request_id]
                new = [(count, ids[count:]) for ids, count in zip(lists, had, strict=True)]
                blob[f"{claim.job_id} {claim.index}"] = new
        if not blob:
            return
        streams.flush()  # whoever takes an item over goes on telling it behind its checkpoint
        grown = {r for r, lists in tokens.items() if sum(map(len, lists)) > rows[r].resumed}
        first = [(rows[r].job_id, rows[r].index) for r in grown - self._grown]
        incarnation.checkpoint(blob, whole=whole, first=first)
        self._blobs += 1
        self._grown = grown
        self._kept = {
            request_id: [len(ids) for ids in lists] for request_id, lists in tokens.items()
        }
