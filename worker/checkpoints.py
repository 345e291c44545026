"""Checkpoints: the tokens that running items have so far, kept in the store. A lost worker then
costs seconds of work instead of whole items.

At each heartbeat one blob is written with the new tokens of items that are older than a few
seconds. Now and then a complete blob replaces all earlier ones, so that the tokens of items that
ended long ago do not pile up.
"""

from __future__ import annotations

import time

from common.store.incarnation import Checkpoint, Incarnation
from worker.engine.protocol import Engine
from worker.held_items import HeldItem
from worker.token_publisher import TokenPublisher

MIN_AGE = 5.0  # seconds; running a younger item again costs less than keeping its tokens
WHOLE_EVERY = 30  # blobs


class Checkpoints:
    """The checkpoints of one incarnation."""

    def __init__(self) -> None:
        # How many tokens of each continuation the store has, by request id.
        self._kept: dict[str, list[int]] = {}
        # Requests of which the store knows that they have more tokens than they started with.
        self._grown: set[str] = set()
        self._blobs = 0

    def keep(
        self,
        incarnation: Incarnation,
        engine: Engine,
        items: dict[str, HeldItem],
        publisher: TokenPublisher,
    ) -> None:
        """Store the new tokens of `items`, which are by request id.

        Raises:
            Unavailable: the server cannot be reached; the next call stores these tokens, too.
        """
        youngest = time.monotonic() - MIN_AGE
        old = {request_id: item for request_id, item in items.items() if item.started < youngest}
        if not old:
            return
        whole = self._blobs % WHOLE_EVERY == 0
        tokens = {
            request_id: lists for request_id, lists in engine.checkpoint(old).items() if any(lists)
        }
        blob = self._new_tokens(tokens, old, whole)
        if not blob:
            return
        # The worker that takes an item over publishes only what comes after the checkpoint.
        publisher.flush()
        grown = {
            request_id
            for request_id, lists in tokens.items()
            if sum(map(len, lists)) > old[request_id].resumed
        }
        first = [(old[each].job_id, old[each].index) for each in grown - self._grown]
        incarnation.checkpoint(blob, whole=whole, first=first)
        self._blobs += 1
        self._grown = grown
        self._kept = {each: [len(ids) for ids in lists] for each, lists in tokens.items()}

    def _new_tokens(
        self, tokens: dict[str, list[list[int]]], items: dict[str, HeldItem], whole: bool
    ) -> Checkpoint:
        """What the store does not have yet; with `whole`, all."""
        blob: dict[str, list[tuple[int, list[int]]] | str] = {}
        for request_id, lists in tokens.items():
            none = [0] * len(lists)
            had = none if whole else self._kept.get(request_id, none)
            new = [(count, ids[count:]) for ids, count in zip(lists, had, strict=True)]
            if any(ids for _, ids in new):
                item = items[request_id]
                name = f"{item.job_id} {item.index}"
                blob[name] = new
                if item.kernels:
                    blob[f"{name} kernels"] = item.kernels
                if item.guidance:
                    blob[f"{name} guidance"] = item.guidance
        return blob
