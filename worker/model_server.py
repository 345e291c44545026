"""Serves one model: runs turns, renews the lease, drains and stops.

Knows the store and the engine's protocol; nothing of Celery. Its methods are called from the thread
of the turn, of a ring (which wakes the turn), of the heartbeat and of the shutdown. Whichever of
them has the lock `_turn` may exchange.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

import redis

from common.rings import RingSender
from common.settings import Settings
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation
from common.types import ModelCard
from worker.exchange import ItemExchange
from worker.models import OpenedModel
from worker.slots import OwnSlots, Slots

log = logging.getLogger(__name__)

# Seconds of the grace period, a third of it at most, that are left for stopping sequences, handing
# them back and releasing the lease.
HAND_BACK = 2.0
HAND_BACK_LIMIT = 5.0  # seconds until every sequence has stopped, at most
SLOWEST_STEP = 10  # warm-ups: no step that works takes longer
# The share of the slots that is kept for interactive jobs, unless the settings name a number.
INTERACTIVE_SHARE = 8
# Heartbeats in a row with rings in the queue and no turn, after which Celery is taken to be stuck.
MISSED_RINGS = 2
LOOK_AGAIN = 1.0  # seconds that a turn waits for the engine before it looks at its flags


class ModelServer:
    """Serves an opened model until it is stopped. Call `start` and `join` first, then `turn` for
    each ring. `slots` are given where it shares the engine's with other models."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        opened: OpenedModel,
        ring_sender: RingSender,
        slots: Slots | None = None,
    ):
        self.engine = opened.engine
        self.card = opened.card
        self._tokenizer = opened.tokenizer
        self._settings = settings
        self._client = client
        self._ring_sender = ring_sender
        self._exchange = ItemExchange(
            client,
            opened,
            ring_sender,
            lease=settings.lease,
            slots=slots or OwnSlots(opened.engine, kept_slots(settings, opened.card)),
        )
        self._turn = threading.Lock()  # held by the thread whose turn it is
        self._woken = threading.Event()  # there may be work that no exchange has asked for yet
        self._drain_until: float | None = None  # monotonic seconds
        self._stopped = False
        self._turns = 0
        # Heartbeats with rings in the queue and no turn; the number of turns at the last of them.
        self._missed_rings = (0, 0)
        self.wedge_limit = settings.wedge_limit  # seconds a step may take

    @property
    def incarnation(self) -> Incarnation:
        return self._exchange.incarnation

    def start(self) -> None:
        """Start the engine, which warms up."""
        began = time.monotonic()
        self.engine.start()
        self._exchange.publisher.start()
        warm_up = time.monotonic() - began
        self.wedge_limit = max(self._settings.wedge_limit, SLOWEST_STEP * warm_up)

    def join(self) -> None:
        """Publish the model's card and take a lease."""
        self.publish()
        self.register()

    def publish(self) -> None:
        """Publish the model's card.

        Raises:
            ConfigError: another model is served under its name, or has jobs that are not over.
        """
        Fleet(self._client).publish(self.card, self._tokenizer.dumps())

    def register(self) -> None:
        """Take a lease: from now on it is given work."""
        self._exchange.register()

    # The turn

    def turn(self) -> None:
        """Exchange results for items until there are none. While another turn runs, wake that one
        and return."""
        self._turns += 1
        self._woken.set()
        # Woken after the last exchange: look once more.
        while self._woken.is_set() and not self._stopped:
            if not self._turn.acquire(blocking=False):
                self.engine.poke()
                return
            try:
                while self._guarded(self._step):
                    pass
            finally:
                self._turn.release()

    def wake(self) -> None:
        """There is work: begin a turn, or have the running one look now."""
        self._woken.set()
        if self._turn.locked():
            self.engine.poke()
            return
        try:
            threading.Thread(target=self.turn, name="turn", daemon=True).start()
        except RuntimeError as error:  # the machine has too many threads
            # Raised in the heartbeat's thread, it would cost the lease of a living worker.
            log.error("no turn begins, the next tick wakes this worker again: %s", error)

    def _guarded(self, part: Callable[[], bool]) -> bool:
        """Run a part of the turn; True if the turn goes on. After an exception the items are handed
        back: the heartbeat renews the lease, so no other worker would ever get them."""
        try:
            return part()
        except Exception as error:
            log.exception("the turn failed; handing back the items of this worker")
            # An item may be the cause, so they are charged as if the worker had died. What the
            # server refuses is the fault of none.
            charged = not isinstance(error, redis.RedisError)
            self._give_up(self._settings.max_attempts if charged else 0)
            return False

    def _give_up(self, max_attempts: int) -> None:
        """Release the lease and register under a new id; `max_attempts` as `release` has it. If
        the store does not answer either, the lease expires and the next exchange finds that."""
        try:
            self._release(max_attempts)
        except Exception as error:
            log.warning("could not hand back: %s", error)
        try:
            self._exchange.start_over()
        except Exception as error:
            log.warning("could not start over yet: %s", error)
        self._exchange.pause()  # other workers come first
        self._woken.set()  # then this one may take the items again

    def _release(self, max_attempts: int = 0) -> int:
        handed_back, rings = self.incarnation.release(max_attempts)
        self._ring_sender.send(self.card.id, rings)
        return handed_back

    def _step(self) -> bool:
        """Hand in results, take items, wait for the engine; False when the turn is over."""
        self._woken.clear()
        self._exchange_once()
        held = self._exchange.held
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            self._exchange.hand_back(list(held.running()))
            if time.monotonic() > self._drain_until + HAND_BACK_LIMIT:
                return False
        if held.busy and not held.results:
            until = self._drain_until or math.inf
            self._exchange.collect(min(LOOK_AGAIN, max(0.05, until - time.monotonic())))
        return held.busy

    def _exchange_once(self) -> bool:
        return self._exchange.exchange(take_more=self._drain_until is None)

    # The heartbeat

    def heartbeat(self) -> None:
        """Renew the lease, stop items that are no longer wanted, store checkpoints of the others.

        Raises:
            Unavailable: Redis cannot be reached; the next heartbeat tries again.
        """
        incarnation = self.incarnation
        wishes = incarnation.heartbeat(self._exchange.shared_room())
        if wishes is not None:
            self._exchange.stop_jobs(wishes)
            self._exchange.keep_checkpoints(incarnation)
        elif self._stopped:
            self.engine.poke()
        elif self._turn.acquire(blocking=False):  # no turn runs that would find the lease expired
            try:
                self._guarded(self._exchange_once)
            finally:
                self._turn.release()
        else:
            self.engine.poke()
        self._exchange.flush_metrics()

    def needs_turn(self) -> bool:
        """Whether there is work that no turn will look for. Asked once a heartbeat."""
        missed = self._misses_rings()
        stranded = self._exchange.held.busy and not self._turn.locked() and not self._stopped
        return missed or stranded

    def _misses_rings(self) -> bool:
        """Whether rings wait, and for some heartbeats no turn has begun: Celery waits for a dead
        connection, or to try another (half a minute after a long outage)."""
        waiting = (
            self.incarnation.rings > 0 and not self._turn.locked() and self._drain_until is None
        )
        beats, turns = self._missed_rings
        beats = beats + 1 if waiting and turns == self._turns else 0
        missed = beats >= MISSED_RINGS
        self._missed_rings = (0 if missed else beats, self._turns)
        return missed

    def holds(self, job_id: str) -> bool:
        return any(item.job_id == job_id for item in self._exchange.held.running().values())

    # The end

    def drain(self, grace: float | None = None) -> None:
        """Take no more items, and finish those that end within the grace period (seconds; the
        settings' if None), less the time that handing back the others takes."""
        grace = self._settings.grace if grace is None else grace
        until = time.monotonic() + grace - min(HAND_BACK, grace / 3)
        if self._drain_until is None or until < self._drain_until:
            log.info(
                "draining: %d items run",
                len(self._exchange.held.running()),
                extra={"grace_s": grace},
            )
            self._drain_until = until
            self.engine.poke()

    def stop(self) -> None:
        """Drain, hand in the results, hand back the other items uncharged, release the lease."""
        self.drain()
        self._stopped = True
        if not self._turn.acquire(timeout=self._settings.grace + 2 * HAND_BACK_LIMIT):
            log.error("the turn did not end; its items go to other workers when the lease expires")
            return
        try:
            self._guarded(self._exchange_once)
            log.info("left; %d items handed back", self._release())
        except Exception as error:
            log.warning("%s; the items go to other workers when the lease expires", error)
        finally:
            self._turn.release()
            self.engine.stop()
            self._exchange.publisher.stop()


def kept_slots(settings: Settings, card: ModelCard) -> int:
    """How many of an engine's slots are kept for interactive jobs."""
    kept = settings.interactive_slots
    return card.slots // INTERACTIVE_SHARE if kept is None else kept
