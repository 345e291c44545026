"""Steps of the random walk in which workers are lost, and the server loses what it acknowledged."""

from __future__ import annotations

import copy
import json

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from common.store import keys
from common.store.incarnation import Exchanged, Run
from tests.support.store import taken
from tests.support.store_model import MAX_ATTEMPTS, Saved, sent
from tests.support.store_walk_agreement import Agreement


class LossSteps(Agreement):
    @precondition(lambda self: self.workers)
    @rule(data=st.data(), drained=st.booleans(), lost=st.booleans())
    def leave(self, data: st.DataObject, drained: bool, lost: bool) -> None:
        worker = self.worker(data)
        held = self.held_by(worker.id)
        self.scripts.lose = lost
        if drained:
            worker.release()
        else:
            self.mill.lose(worker)
            self.reap()
        self.gone(worker, held, charged=not drained)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), room=st.integers(0, 9), refused=st.booleans())
    def raise_in_the_turn(self, data: st.DataObject, room: int, refused: bool) -> None:
        """An exchange was done and its reply came to nothing: the worker hands back what it holds,
        and what it does not know of."""
        worker = self.worker(data)
        self.struck["exception"] += 1
        answer = json.loads(self.scripts.exchange(**sent(worker, room)))
        given = Exchanged(runs=[Run(*run) for run in answer["runs"]])
        self.given(worker, taken(given), {(r.job_id, r.first): r.resumed for r in given.runs})
        self.the_store_agrees()
        held = self.held_by(worker.id)
        worker.release(0 if refused else MAX_ATTEMPTS)
        self.gone(worker, held, charged=not refused)
        self.join(worker._card.slots)

    @precondition(lambda self: self.workers and not self.saved)
    @rule()
    def save(self) -> None:
        """What a replica has, or an older file: the server may be set back to it."""
        names = self.mill.client.keys(keys.PREFIX + "*")
        pipe = self.mill.client.pipeline(transaction=False)
        for name in names:
            pipe.dump(name).pttl(name)
        answers = pipe.execute()
        dumps = dict(zip(names, zip(answers[::2], answers[1::2], strict=True), strict=True))
        calls = {name: worker._call for name, worker in self.workers.items()}
        self.saved = Saved(dumps, copy.deepcopy(self.jobs), calls, dict(self.seen))

    @precondition(lambda self: self.saved)
    @rule()
    def lose_the_tail(self) -> None:
        """The server forgets what it acknowledged since. Live workers find out, with a heartbeat or
        an exchange in turns."""
        saved = self.saved
        assert saved
        pipe = self.mill.client.pipeline(transaction=False).flushdb()
        for key, (dump, ttl) in saved.dumps.items():
            pipe.restore(key, max(ttl, 0), dump)
        pipe.execute()
        self.jobs, self.seen, self.saved = copy.deepcopy(saved.jobs), dict(saved.seen), None
        self.calls.clear()
        for name in sorted(
            saved.calls.keys() - self.workers.keys()
        ):  # it left in what was lost: nobody renews its lease
            held = self.held_by(name)
            self.mill.client.zadd(keys.WORKERS, {name: 1})
            self.reap()
            self.take_all_back(held, charged=True)
        for name, worker in list(self.workers.items()):
            if name not in saved.calls or saved.calls[name] < worker._call:
                held = self.held_by(name)
                exchanges = self.struck["exchange"] <= self.struck["heartbeat"]
                self.struck["exchange" if exchanges else "heartbeat"] += 1  # after a lost tail
                assert worker.exchange([], 5).lost if exchanges else worker.heartbeat() is None
                self.gone(worker, held, charged=False)
                self.join(worker._card.slots)
