"""The runner: one opened model, its incarnation, and the turn that moves items between the store and the engine.

Knows the store and the engine's protocol; nothing of Celery. Threads that meet here: the turn's, a ring's (it pokes),
the heartbeat's (wishes, loss) and the one that shuts down. `_serving` is the turn's mark: whoever holds it may
exchange.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from dataclasses import replace

import redis

from common.errors import InvalidRequest, NotFound, Unavailable
from common.fleet import Exchanged, Fleet, Incarnation, Result, Run
from common.rings import Bell
from common.settings import Settings
from common.store import JobStore
from common.types import Finished, ItemState
from worker.checkpoints import Checkpoints
from worker.claims import Claim, ClaimReader, end_state, forgotten, handed_back, result
from worker.models import OpenedModel
from worker.streams import Streams

log = logging.getLogger(__name__)

HAND_BACK = 2.0  # seconds of the grace period, a third at most, for stopping rows, handing them back and leaving
HAND_BACK_LIMIT = 5.0  # seconds rows may take to stop at worst
SLOWEST_STEP = 10  # times the warm-up: no honest step takes longer
RETRY_PAUSE = 0.5  # seconds between tries while Redis is away
KEPT_SHARE = 8  # an eighth of the slots is kept for interactive jobs, unless the settings say otherwise
DEAF = 2  # heartbeats in a row with rings waiting and no turn: they do not arrive
LOOK_AGAIN = 1.0  # seconds a turn waits at most before it looks at its flags


class Runner:
    """Serves one model until stopped. `start` before anything else; `turn` as often as rings come."""

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
        self._claims: dict[str, Claim] = {}  # by request id: what the engine has
        self._claims_lock = threading.Lock()
        self._stopping: set[str] = set()  # request ids that go back when they have stopped
        self._checkpoints = Checkpoints()
        self._streams = Streams()
        self._unread: list[tuple[Run, int]] = []  # claimed at a server time, not yet given to the engine
        self._unsent: list[Result] = []  # to hand in with the next exchange
        self._drain_until: float | None = None  # monotonic seconds
        self._stopped = False
        self._turns = 0
        self._unheard = (0, 0)  # heartbeats with rings waiting and no turn; the number of turns by then
        self.wedge_limit = settings.wedge_limit  # seconds a step may take

    def start(self) -> None:
        """Warm the engine up."""
        began = time.monotonic()
        self.engine.start()
        self._streams.start()
        self.wedge_limit = max(self._settings.wedge_limit, SLOWEST_STEP * (time.monotonic() - began))

    def join(self) -> None:
        """Publish the card, take a lease."""
        Fleet(self._client).publish(self.card, self._tokenizer.dumps())
        self._register()

    def _register(self) -> None:
        self._checkpoints = Checkpoints()
        self.incarnation = Incarnation(self._client, self.card, self._settings.lease)
        about = {"host": socket.gethostname(), "pid": str(os.getpid()), "started_at": str(int(time.time()))}
        self.incarnation.register(about)
        self._streams.speak_as(self.incarnation)
        log.info("serving %s with %d slots", self.card.id, self.card.slots, extra={"incarnation": self.incarnation.id})

    # The turn

    def turn(self) -> None:
        """Exchange results for work until there is none. A second turn pokes the first and returns."""
        self._turns += 1
        self._rung.set()
        while self._rung.is_set() and not self._stopped:  # rung after the last exchange: look once more
            if not self._serving.acquire(blocking=False):
                self.engine.poke()
                return
            try:
                while self._step():
                    pass
            finally:
                self._serving.release()

    def wake(self) -> None:
        """There is work: begin a turn, or have the one that runs look now."""
        self._rung.set()
        if self._serving.locked():
            self.engine.poke()
        else:
            threading.Thread(target=self.turn, name="turn", daemon=True).start()

    @property
    def _busy(self) -> bool:
        return bool(self._claims or self._unread or self._unsent)

    def _step(self) -> bool:
        """Hand in what finished, take what fits, wait for the engine; False when there is nothing to go on with."""
        self._rung.clear()
        self._exchange()
        if self._drain_until is not None and time.monotonic() > self._drain_until:
            self._hand_back(list(self._claims))
            if time.monotonic() > self._drain_until + HAND_BACK_LIMIT:
                return False
        if self._busy and not self._unsent:
            until = self._drain_until or math.inf
            self._keep(self.engine.collect(min(LOOK_AGAIN, max(0.05, until - time.monotonic()))))
        return self._busy

    def _exchange(self) -> None:
        """One exchange with the store. While Redis is away, results and claims wait in memory."""
        self._keep(self.engine.collect(0))
        room = 0 if self._drain_until is not None else self.engine.room()
        try:
            answer = self.incarnation.exchange(self._unsent, room, self._kept)
            if answer.lost:
                self._start_over()
                return
            self._unsent = []
            self._unread.extend((run, answer.now) for run in answer.runs)
            self._read()
        except Unavailable as error:
            log.warning("%s; %d results wait", error, len(self._unsent))
            time.sleep(RETRY_PAUSE)
        else:
            self._after(answer)

    def _read(self) -> None:
        """Give the engine what was claimed. Stops where Redis fails; the rest is read after the next exchange."""
        while self._unread:
            run, now = self._unread[0]
            try:
                pairs = self._reader.read(run, now)
            except NotFound:
                self._unsent.extend(forgotten(run))
                pairs = []
            resume = self.incarnation.progress(run.job_id, run.first) if run.resumed else None
            del self._unread[0]
            for claim, request in pairs:
                if isinstance(request, InvalidRequest):
                    self._unsent.append(result(claim, Finished("", error=(request.code, request.message)), self._name))
                else:
                    # A checkpoint holds no log-probabilities, so an item that wants them starts anew.
                    request.resume = (resume or None) if request.params.logprobs is None else None
                    if claim.streamed:
                        self._streams.follow(claim, request)
                    with self._claims_lock:
                        self._claims[request.id] = replace(claim, resumed=sum(map(len, request.resume or [])))
                    self.engine.submit(request)

    def _keep(self, finished: list[Finished]) -> None:
        """Make results of what the engine finished; what an earlier incarnation held is dropped."""
        with self._claims_lock:
            pairs = [(self._claims.pop(f.id, None), f) for f in finished]
        for claim, f in pairs:
            if claim and f.id in self._stopping and end_state(f) == ItemState.CANCELLED:
                self._tell_streams()  # whoever goes on from these tokens does not tell them again
                self._unsent.append(handed_back(claim, f))
            elif claim:
                self._unsent.append(result(claim, f, self._name))
            self._stopping.discard(f.id)
            self._streams.forget(f.id)

    def _tell_streams(self) -> None:
        try:
            self._streams.flush()
        except Unavailable as error:
            log.warning("some streamed tokens come with their results only: %s", error)

    def _after(self, answer: Exchanged) -> None:
        for job_id, index in answer.refused:
            log.warning("the result of item %d was refused: others have it by now", index, extra={"job": job_id})
        if answer.hooked:
            try:
                self._bell.deliver()
            except Unavailable:
                log.info("the webhook worker could not be rung; the next tick does it")

    def _start_over(self) -> None:
        """The lease is gone and others have the items: drop everything and come back under a new name."""
        log.warning("lost the lease of %s; starting over", self.incarnation.id)
        with self._claims_lock:
            dropped, self._claims = list(self._claims), {}
        for request_id in dropped:
            self.engine.cancel(request_id, "cancelled")
        self._unread, self._unsent = [], []
        self._register()

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
            with self._claims_lock:
                claims = dict(self._claims)
            self._checkpoints.keep(incarnation, self.engine, claims, self._streams)
        elif self._serving.acquire(blocking=False):  # no turn runs that would notice
            try:
                self._exchange()
            finally:
                self._serving.release()
        else:
            self.engine.poke()

    @property
    def deaf(self) -> bool:
        """Rings wait, and none has come for some heartbeats although no turn runs: Celery hangs on a dead connection
        or waits before it tries another (half a minute after a long outage). Asked once a heartbeat."""
        waiting = self.incarnation.rings > 0 and not self._serving.locked() and self._drain_until is None
        beats, turns = self._unheard
        self._unheard = (beats + 1 if waiting and turns == self._turns else 0, self._turns)
        if self._unheard[0] < DEAF:
            return False
        self._unheard = (0, self._turns)
        return True

    def holds(self, job_id: str) -> bool:
        with self._claims_lock:
            return any(claim.job_id == job_id for claim in self._claims.values())

    def _obey(self, wishes: dict[str, str]) -> None:
        with self._claims_lock:
            ends = [(name, wishes[claim.job_id]) for name, claim in self._claims.items() if claim.job_id in wishes]
        self._hand_back([request_id for request_id, wish in ends if wish == "paused"])
        for request_id, wish in ends:
            if wish != "paused":
                self._stopping.discard(request_id)
                self.engine.cancel(request_id, "expired" if wish == "expired" else "cancelled")

    def _hand_back(self, request_ids: list[str]) -> None:
        """Stop these rows; when they have stopped, their items go back with the tokens they have."""
        for request_id in request_ids:
            self._stopping.add(request_id)
            self.engine.cancel(request_id, "cancelled")

    # The end

    def drain(self) -> None:
        """Take nothing more; finish what fits in the grace period and leaves time to hand back the rest."""
        if self._drain_until is None:
            log.info("draining: %d items run", len(self._claims), extra={"grace_s": self._settings.grace})
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
            self._exchange()
            handed_back, rings = self.incarnation.release()
            log.info("left; %d items handed back", handed_back)
            self._bell.ring(self.card.id, rings)
        except Unavailable as error:
            log.warning("%s; what this worker held is taken over when its lease runs out", error)
        finally:
            self._serving.release()
            self.engine.stop()
            self._streams.stop()
