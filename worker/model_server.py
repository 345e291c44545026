"""The runner: one opened model, its incarnation, and the turn that moves items between the store
and the engine.

Knows the store and the engine's protocol; nothing of Celery. Threads that meet here: the turn's, a
ring's (it pokes), the heartbeat's (wishes, loss) and the one that shuts down. `_serving` is the
turn's mark: whoever holds it may exchange.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import redis

from common.errors import InvalidRequest, NotFound, Unavailable
from common.rings import Bell
from common.settings import Settings
from common.store.fleet import Exchanged, Fleet, Incarnation, Run
from common.store.jobs import JobStore
from common.store.metrics import Tally
from common.types import Finished, ItemState
from worker.books import Books
from worker.checkpoints import Checkpoints
from worker.claims import ClaimReader, end_state, forgotten, handed_back, result
from worker.models import OpenedModel
from worker.token_publisher import Streams

log = logging.getLogger(__name__)

# Seconds of the grace period, a third at most, for stopping rows, handing them back and leaving.
HAND_BACK = 2.0
HAND_BACK_LIMIT = 5.0  # seconds rows may take to stop at worst
SLOWEST_STEP = 10  # times the warm-up: no honest step takes longer
RETRY_PAUSE = 0.5  # seconds between tries while Redis is away
MOST_REFUSALS = 10  # exchanges the server may refuse in a row before others have the items
# An eighth of the slots is kept for interactive jobs, unless the settings say otherwise.
KEPT_SHARE = 8
DEAF = 2  # heartbeats in a row with rings waiting and no turn: they do not arrive
LOOK_AGAIN = 1.0  # seconds a turn waits at most before it looks at its flags


class Runner:
    """Serves one model until stopped. `start` before anything else; `turn` as often as rings
    come."""

    def __init__(self, client: redis.Redis, settings: Settings, opened: OpenedModel, bell: Bell):
        self.engine = opened.engine
        self.card = opened.card
        self._tokenizer = opened.tokenizer
        self._settings = settings
        self._client = client
        self._bell = bell
        self._reader = ClaimReader(JobStore(client), opened.tokenizer, opened.card)
        kept = settings.interactive_slots
        self._kept = opened.card.slots // KEPT_SHARE if kept is None else kept  # slots
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._serving = threading.Lock()
        self._rung = threading.Event()  # something may wait that no exchange has looked for yet
        self._books = Books()
        self._stopping: set[str] = set()  # request ids that go back when they have stopped
        self._checkpoints = Checkpoints()
        self._streams = Streams()
        self._tally = Tally()
        self._refusals = 0  # by the server, in a row
        self._drain_until: float | None = None  # monotonic seconds
        self._stopped = False
        self._turns = 0
        # Heartbeats with rings waiting and no turn; the number of turns by then.
        self._unheard = (0, 0)
        self.wedge_limit = settings.wedge_limit  # seconds a step may take

    def start(self) -> None:
        """Warm the engine up."""
        began = time.monotonic()
        self.engine.start()
        self._streams.start()
        self.wedge_limit = max(
            self._settings.wedge_limit, SLOWEST_STEP * (time.monotonic() - began)
        )

    def join(self) -> None:
        """Publish the card, take a lease."""
        Fleet(self._client).publish(self.card, self._tokenizer.dumps())
        self._register()

    def _register(self) -> None:
        self._checkpoints = Checkpoints()
        self.incarnation = Incarnation(self._client, self.card, self._settings.lease)
        about = {
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "started_at": str(int(time.time())),
        }
        self.incarnation.register(about)
        self._streams.speak_as(self.incarnation)
        log.info(
            "serving %s with %d slots",
            self.card.id,
            self.card.slots,
            extra={"incarnation": self.incarnation.id},
        )

    # The turn

    def turn(self) -> None:
        """Exchange results for work until there is none. A second turn pokes the first and
        returns."""
        self._turns += 1
        self._rung.set()
        # Rung after the last exchange: look once more.
        while self._rung.is_set() and not self._stopped:
            if not self._serving.acquire(blocking=False):
                self.engine.poke()
                return
            try:
                while self._guarded(self._step):
                    pass
            finally:
                self._serving.release()

    def _guarded(self, part: Callable[[], bool]) -> bool:
        """A part of the turn; True to go on. Whatever goes wrong in it, what this worker holds is
        worked on or handed back: the heartbeat keeps the lease, so nobody else would ever do it."""
        try:
            return part()
        except Exception as error:
            log.exception("the turn failed; handing back what this worker holds")
            # One of the items may be why, as when a worker dies; what the server refuses is no
            # item's doing.
            self._give_up(0 if isinstance(error, redis.RedisError) else self._settings.max_attempts)
            return False

    def _give_up(self, max_attempts: int) -> None:
        """Leave, and come back under a new name; `max_attempts` as `release` has it. Where even
        that fails, what this worker held is taken over when its lease runs out, and the next
        exchange finds it gone."""
        self._refusals = 0
        try:
            _, rings = self.incarnation.release(max_attempts)
            self._bell.ring(self.card.id, rings)
        except Exception as error:
            log.warning("could not hand back: %s", error)
        try:
            self._start_over()
        except Exception as error:
            log.warning("could not start over yet: %s", error)
        time.sleep(RETRY_PAUSE)  # others come first
        self._rung.set()  # then what went back may be this worker's again

    def wake(self) -> None:
        """There is work: begin a turn, or have the one that runs look now."""
        self._rung.set()
        if self._serving.locked():
            self.engine.poke()
        else:
            threading.Thread(target=self.turn, name="turn", daemon=True).start()

    def _step(self) -> bool:
        """Hand in what finished, take what fits, wait for the engine; False when there is nothing
        to go on with."""
        self._rung.clear()
        self._exchange()
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            self._hand_back(list(self._books.running()))
            if time.monotonic() > self._drain_until + HAND_BACK_LIMIT:
                return False
        if self._books.busy and not self._books.results:
            until = self._drain_until or math.inf
            self._keep(self.engine.collect(min(LOOK_AGAIN, max(0.05, until - time.monotonic()))))
        return self._books.busy

    def _exchange(self) -> bool:
        """One exchange with the store; True when something is held. While Redis is away, results
        and claims wait in memory."""
        self._keep(self.engine.collect(0))
        room = 0 if self._drain_until is not None else self.engine.room()
        try:
            answer = self.incarnation.exchange(*self._books.send(room), self._kept)
            if answer.lost:
                log.warning("lost the lease of %s; starting over", self.incarnation.id)
                self._start_over()
                return False
            self._books.sending, self._refusals = None, 0
            self._books.unread.extend((run, answer.now) for run in answer.runs)
            self._after(answer)
            self._read()
        except Unavailable as error:
            self._wait_for_redis(str(error))
        except redis.RedisError as error:
            # It is there and refuses: a mistake of ours, or rights that may come back.
            self._refusals += 1
            if self._refusals >= MOST_REFUSALS:
                raise
            self._wait_for_redis(f"the server refuses this worker: {error}")
        else:
            self._check_books()
        return self._books.busy

    def _wait_for_redis(self, why: str) -> None:
        log.warning("%s; %d results wait", why, self._books.results)
        time.sleep(RETRY_PAUSE)

    def _check_books(self) -> None:
        """What the store gave out is in one place here, or nobody would ever work on it."""
        if self._books.items != self.incarnation.held:
            raise RuntimeError(
                f"{self.incarnation.held} items are held, {self._books.items} are known here"
            )

    def _read(self) -> None:
        """Give the engine what was claimed. Stops where Redis fails; the rest is read after the
        next exchange."""
        while self._books.unread:
            run, now = self._books.unread[0]
            try:
                pairs = self._reader.read(run, now)
            except NotFound:
                self._books.unsent.extend(forgotten(run))
                pairs = []
            resume = self._progress(run) if run.resumed else None
            del self._books.unread[0]
            if pairs and run.attempt == 1:
                self._tally.observe(
                    "queue_wait_seconds", self.card.id, pairs[0][0].queued_s, len(pairs)
                )
            for claim, request in pairs:
                if isinstance(request, InvalidRequest):
                    self._books.unsent.append(
                        result(
                            claim, Finished("", error=(request.code, request.message)), self._name
                        )
                    )
                else:
                    # A checkpoint holds no log-probabilities, so an item that wants them starts
                    # anew.
                    request.resume = (resume or None) if request.params.logprobs is None else None
                    if claim.streamed:
                        self._streams.follow(claim, request)
                    self._books.runs(
                        request.id, replace(claim, resumed=sum(map(len, request.resume or [])))
                    )
                    self.engine.submit(request)

    def _progress(self, run: Run) -> list[list[int]] | None:
        try:
            return self.incarnation.progress(run.job_id, run.first)
        except (Unavailable, redis.RedisError):
            raise
        except Exception:  # what an earlier holder left cannot be read
            log.warning("item %d begins anew", run.first, extra={"job": run.job_id}, exc_info=True)
            return None

    def _keep(self, finished: list[Finished]) -> None:
        """Make results of what the engine finished; what an earlier incarnation held is dropped."""
        for f in finished:
            claim = self._books.ended(f.id)
            if claim and f.id in self._stopping and end_state(f) == ItemState.CANCELLED:
                self._tell_streams()  # whoever goes on from these tokens does not tell them again
                self._books.unsent.append(handed_back(claim, f))
            elif claim:
                self._books.unsent.append(result(claim, f, self._name))
            self._stopping.discard(f.id)
            self._streams.forget(f.id)

    def _tell_streams(self) -> None:
        try:
            self._streams.flush()
        except Unavailable as error:
            log.warning("some streamed tokens come with their results only: %s", error)

    def _after(self, answer: Exchanged) -> None:
        for job_id, index in answer.refused:
            log.warning(
                "the result of item %d was refused: others have it by now",
                index,
                extra={"job": job_id},
            )
        if answer.hooked:
            try:
                self._bell.deliver()
            except Exception as error:
                log.info("the webhook worker could not be rung; the next tick does it: %s", error)

    def _start_over(self) -> None:
        """Others have the items: drop everything and come back under a new name."""
        dropped = self._books.clear()
        self._stopping.clear()
        self._reader.forget()
        try:
            self._register()
        finally:
            for request_id in dropped:
                self.engine.cancel(request_id, "cancelled")

    # The heartbeat

    def heartbeat(self) -> None:
        """Renew the lease, end what is no longer wanted, keep how far the rest has got.

        Raises:
            Unavailable: Redis is away; beat again.
        """
        incarnation = self.incarnation
        wishes = incarnation.heartbeat()
        if wishes is not None:
            self._obey(wishes)
            self._checkpoints.keep(incarnation, self.engine, self._books.running(), self._streams)
        elif self._serving.acquire(blocking=False):  # no turn runs that would notice
            try:
                self._guarded(self._exchange)
            finally:
                self._serving.release()
        else:
            self.engine.poke()
        self._flush()

    def _flush(self) -> None:
        """Add what this worker measured to the store's metrics."""
        for seconds in self.engine.step_times():
            self._tally.observe("step_seconds", self.card.id, seconds)
        self._tally.flush(self._client)

    @property
    def stranded(self) -> bool:
        """Something is held, and no turn runs that would go on with it. Asked once a heartbeat."""
        return self._books.busy and not self._serving.locked() and not self._stopped

    @property
    def deaf(self) -> bool:
        """Rings wait, and none has come for some heartbeats although no turn runs: Celery hangs on
        a dead connection or waits before it tries another (half a minute after a long outage).
        Asked once a heartbeat."""
        waiting = (
            self.incarnation.rings > 0 and not self._serving.locked() and self._drain_until is None
        )
        beats, turns = self._unheard
        self._unheard = (beats + 1 if waiting and turns == self._turns else 0, self._turns)
        if self._unheard[0] < DEAF:
            return False
        self._unheard = (0, self._turns)
        return True

    def holds(self, job_id: str) -> bool:
        return any(claim.job_id == job_id for claim in self._books.running().values())

    def _obey(self, wishes: dict[str, str]) -> None:
        running = self._books.running()
        ends = [
            (name, wishes[claim.job_id])
            for name, claim in running.items()
            if claim.job_id in wishes
        ]
        self._hand_back([request_id for request_id, wish in ends if wish == "paused"])
        for request_id, wish in ends:
            if wish != "paused":
                self._stopping.discard(request_id)
                self.engine.cancel(request_id, "expired" if wish == "expired" else "cancelled")

    def _hand_back(self, request_ids: list[str]) -> None:
        """Stop these rows; when they have stopped, their items go back with the tokens they
        have."""
        for request_id in request_ids:
            self._stopping.add(request_id)
            self.engine.cancel(request_id, "cancelled")

    # The end

    def drain(self) -> None:
        """Take nothing more; finish what fits in the grace period and leaves time to hand back the
        rest."""
        if self._drain_until is None:
            log.info(
                "draining: %d items run",
                len(self._books.running()),
                extra={"grace_s": self._settings.grace},
            )
            grace = self._settings.grace
            self._drain_until = time.monotonic() + grace - min(HAND_BACK, grace / 3)
            self.engine.poke()

    def stop(self) -> None:
        """Drain, hand in what finished, hand back the rest uncharged, leave."""
        self.drain()
        self._stopped = True
        if not self._serving.acquire(timeout=self._settings.grace + 2 * HAND_BACK_LIMIT):
            log.error("the turn did not end; its items are taken over when the lease runs out")
            return
        try:
            self._guarded(self._exchange)
            handed_back, rings = self.incarnation.release()
            log.info("left; %d items handed back", handed_back)
            self._bell.ring(self.card.id, rings)
        except Exception as error:
            log.warning("%s; what this worker held is taken over when its lease runs out", error)
        finally:
            self._serving.release()
            self.engine.stop()
            self._streams.stop()
