"""Moves items between the store and the engine: results go to the store, new items to the engine.

Knows the store and the engine's protocol; nothing of Celery, of turns or of the process. The caller
holds the turn's lock while it calls `exchange`, `collect` and `start_over`.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import replace
from itertools import zip_longest

import redis

from common.errors import InvalidRequest, NotFound, Unavailable
from common.generation import Finished, Request
from common.rings import RingSender
from common.store.incarnation import MIXED, Exchanged, Incarnation, Progress, Run
from common.store.jobs import JobStore
from common.store.metrics import Tally
from common.types import ItemState
from worker.checkpoints import Checkpoints
from worker.held_items import HeldItem, HeldItems
from worker.item_reader import ItemReader
from worker.models import OpenedModel
from worker.results import end_state, handed_back, result, results_of_deleted_job
from worker.slots import Room, Slots
from worker.token_publisher import TokenPublisher, said_tokens

log = logging.getLogger(__name__)

RETRY_PAUSE = 0.5  # seconds between two tries while Redis cannot be reached
# Exchanges in a row that the server may refuse; after that the items are handed back.
MOST_REFUSALS = 10


class ItemExchange:
    """The items that this worker holds, under one incarnation at a time. `register` comes first.

    `slots` says how many of the engine's slots may be filled; `lease` is in seconds.
    """

    def __init__(
        self,
        client: redis.Redis,
        opened: OpenedModel,
        ring_sender: RingSender,
        *,
        lease: float,
        slots: Slots,
    ):
        self.publisher = TokenPublisher()
        self.held = HeldItems()
        self._client = client
        self._engine = opened.engine
        self._card = opened.card
        self._ring_sender = ring_sender
        self._lease = lease
        self._slots = slots
        self._room = Room(0, 0)  # what the last exchange asked for
        self._store = JobStore(client)
        self._reader = ItemReader(self._store, opened.tokenizer, opened.card)
        self._checkpoints = Checkpoints()
        self._tally = Tally()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        # Requests that were stopped, and whose items go back to the queue.
        self._handing_back: set[str] = set()
        self._refusals = 0  # exchanges in a row that the server refused

    def register(self) -> None:
        """Take a lease under a new id."""
        self._checkpoints = Checkpoints()
        self.incarnation = Incarnation(self._client, self._card, self._lease)
        about = {
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "started_at": str(int(time.time())),
        }
        self.incarnation.register(about)
        self.publisher.use(self.incarnation)
        log.info(
            "serving %s with %d slots",
            self._card.id,
            self._card.slots,
            extra={"incarnation": self.incarnation.id},
        )

    def start_over(self) -> None:
        """Drop every item, because other workers have them, and register under a new id."""
        dropped = self.held.clear()
        self._handing_back.clear()
        self._reader.forget()
        self._refusals = 0
        self._slots.settle(took=False, more=False)
        try:
            self.register()
        finally:
            for request_id in dropped:
                self._engine.cancel(request_id, "cancelled")

    def exchange(self, *, take_more: bool) -> bool:
        """Hand in results and, with `take_more`, take items for the free slots. Returns whether
        items are held. While Redis cannot be reached, results and claims wait in memory.

        Raises:
            redis.RedisError: the server refused `MOST_REFUSALS` exchanges in a row.
        """
        self.collect(0)
        room = self._ask(take_more)
        try:
            answer = self.incarnation.exchange(
                *self.held.send(room.slots), room.kept, shared=self._slots.shared
            )
            if answer.lost:
                log.warning("lost the lease of %s; starting over", self.incarnation.id)
                self.start_over()
                return False
            self.held.sending, self._refusals = None, 0
            self.held.unread.extend((run, answer.now) for run in answer.runs)
            self._after(answer)
            self._read()
            self._slots.settle(took=bool(answer.runs), more=answer.more and take_more)
        except Unavailable as error:
            self._wait_for_redis(str(error))
        except redis.RedisError as error:
            # The server answers and refuses: a fault of ours, or a permission that may come back.
            self._refusals += 1
            if self._refusals >= MOST_REFUSALS:
                raise
            self._wait_for_redis(f"the server refuses this worker: {error}")
        else:
            self._check_count()
        return self.held.busy

    def _ask(self, take_more: bool) -> Room:
        """The slots to fill. If the last exchange had no reply they are the same again."""
        if self.held.sending is None:
            self._room = self._slots.ask() if take_more else Room(0, 0)
        return self._room

    def shared_room(self) -> int | None:
        """The free slots of an engine that serves several models, which change without an exchange;
        None of one that serves this one only."""
        return self._engine.room() if self._slots.shared else None

    def collect(self, seconds: float) -> None:
        """Wait up to `seconds` for the engine to finish requests, and make results of them."""
        self._keep(self._engine.collect(seconds))

    def hand_back(self, request_ids: list[str]) -> None:
        """Stop these requests. Their items go back to the queue with the tokens they have."""
        for request_id in request_ids:
            self._handing_back.add(request_id)
            self._engine.cancel(request_id, "cancelled")

    def stop_jobs(self, wishes: dict[str, str]) -> None:
        """Stop what runs of these jobs, each with the reason (paused, expired, cancelled, gone)."""
        stopped = [
            (request_id, wishes[item.job_id])
            for request_id, item in self.held.running().items()
            if item.job_id in wishes
        ]
        self.hand_back([request_id for request_id, wish in stopped if wish == "paused"])
        for request_id, wish in stopped:
            if wish != "paused":
                self._handing_back.discard(request_id)
                self._engine.cancel(request_id, "expired" if wish == "expired" else "cancelled")

    def keep_checkpoints(self, incarnation: Incarnation) -> None:
        """Store how far the running items are.

        Raises:
            Unavailable: the server cannot be reached.
        """
        self._checkpoints.keep(incarnation, self._engine, self.held.running(), self.publisher)

    def flush_metrics(self) -> None:
        """Add what this worker measured to the store's metrics."""
        for seconds in self._engine.step_times():
            self._tally.observe("step_seconds", self._card.id, seconds)
        self._tally.flush(self._client)

    def pause(self) -> None:
        """Wait a moment before the next try."""
        time.sleep(RETRY_PAUSE)

    def _wait_for_redis(self, why: str) -> None:
        log.warning("%s; %d results wait", why, self.held.results)
        self.pause()

    def _check_count(self) -> None:
        """Every item that the store gave out must be known here, or nobody would ever run it."""
        if self.held.count != self.incarnation.held:
            raise RuntimeError(
                f"{self.incarnation.held} items are held, {self.held.count} are known here"
            )

    def _read(self) -> None:
        """Give the engine what was claimed. Where Redis fails it stops; the next exchange goes on
        with the rest."""
        while self.held.unread:
            run, now = self.held.unread[0]
            try:
                pairs = self._reader.read(run, now)
            except NotFound:
                self.held.unsent.extend(results_of_deleted_job(run))
                pairs = []
            # A run that is resumed is one item.
            left = self._progress(run, pairs[0][0]) if run.resumed and pairs else None
            del self.held.unread[0]
            if pairs and run.attempt == 1:
                self._tally.observe(
                    "queue_wait_seconds", self._card.id, pairs[0][0].queued_s, len(pairs)
                )
            for item, request in pairs:
                if isinstance(request, InvalidRequest):
                    failed = Finished("", error=(request.code, request.message))
                    self.held.unsent.append(result(item, failed, self._name))
                else:
                    self._start(item, request, left)

    def _start(self, item: HeldItem, request: Request, left: Progress | None) -> None:
        has_tokens = left is not None and any(left.tokens)
        # A checkpoint has no log-probabilities: an item that wants them starts from its prompt.
        params = request.params
        goes_on = has_tokens and params.logprobs is None and params.prompt_logprobs is None
        if has_tokens and not self._engine.goes_on(params):
            # What was streamed stands, so such an item goes on behind it.
            goes_on = goes_on and item.streamed
            item = replace(item, inexact="other_draws" if goes_on else "from_start")
        request.resume = left.tokens if left and goes_on else None
        request.suspect = item.attempt > 1
        if item.streamed:
            exact = self._card.reproducible and self._engine.goes_on(params)
            self.publisher.follow(item, request, with_ids=not exact)
        resumed = sum(map(len, request.resume or []))
        kernels = self._card.kernels
        if left and goes_on and left.kernels != kernels:
            kernels = MIXED
        self.held.start(request.id, replace(item, resumed=resumed, kernels=kernels))
        self._engine.submit(request)

    def _progress(self, run: Run, item: HeldItem) -> Progress | None:
        """How far an item got: to its checkpoint, or to what clients have of it if that is more and
        another worker may write it otherwise."""
        try:
            left = self.incarnation.progress(run.job_id, run.first, item.guidance)
            return self._with_said(left, run) if item.streamed else left
        except (Unavailable, redis.RedisError):
            raise
        except Exception:  # the checkpoint of an earlier worker cannot be read
            log.warning(
                "item %d starts from its prompt",
                run.first,
                extra={"job": run.job_id},
                exc_info=True,
            )
            return None

    def _with_said(self, left: Progress, run: Run) -> Progress:
        said = said_tokens(entry for _, entry in self._store.said(run.job_id, [run.first]))
        none: list[int] = []
        longer = [max(pair, key=len) for pair in zip_longest(left.tokens, said, fillvalue=none)]
        return Progress(longer, left.kernels if any(left.tokens) else self._card.kernels)

    def _keep(self, finished: list[Finished]) -> None:
        """Make results of finished requests; those of an earlier incarnation are dropped."""
        for each in finished:
            item = self.held.finish(each.id)
            stopped = each.id in self._handing_back and end_state(each) == ItemState.CANCELLED
            if item and stopped:
                # Its next worker publishes the tokens that come after these.
                self._flush_tokens()
                self.held.unsent.append(handed_back(item, each))
            elif item:
                self.held.unsent.append(result(item, each, self._name))
            self._handing_back.discard(each.id)
            self.publisher.forget(each.id)

    def _flush_tokens(self) -> None:
        try:
            self.publisher.flush()
        except Unavailable as error:
            log.warning("some streamed tokens come with their results only: %s", error)

    def _after(self, answer: Exchanged) -> None:
        for job_id, index in answer.refused:
            log.warning(
                "the result of item %d was refused: another worker has the item",
                index,
                extra={"job": job_id},
            )
        if answer.hooked:
            try:
                self._ring_sender.wake_webhooks()
            except Exception as error:
                log.info("the ring for the webhook worker waits for the next tick: %s", error)
