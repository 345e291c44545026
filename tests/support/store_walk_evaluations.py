"""Steps of the random walk that evaluators take: they claim evaluations, score, die; and what must
hold of evaluations after every step."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from common.errors import Conflict
from common.store import evaluations, keys
from common.store.evaluation_work import Claimed, Ended, EvaluationWork
from common.store.evaluations import STEP, Evaluations
from common.types import ItemState
from tests.support.store_model import ASKED, MOST_TRIES, EvaluationModel, JobModel
from tests.support.store_walk import Walk

MOST = 20  # of a job
LEASE = 300.0  # seconds: none ends by itself while a walk lasts


class EvaluationSteps(Walk):
    @initialize()
    def begin(self) -> None:
        super().begin()
        self.work = EvaluationWork(self.mill.client, LEASE)
        self.evaluations = Evaluations(self.mill.client)
        self.work._scripts = self.evaluations._scripts = self.scripts
        self.claims: list[Claimed] = []  # all that were ever made

    def every_evaluation(self) -> Iterator[tuple[str, EvaluationModel]]:
        return (pair for job in self.jobs.values() for pair in job.evaluations.items())

    def held(self) -> list[str]:
        return [name for name, each in self.every_evaluation() if each.claim and not each.over]

    def picked(self, data: st.DataObject) -> tuple[EvaluationModel, Claimed]:
        """One that an evaluator works at."""
        name = data.draw(st.sampled_from(self.held()))
        model = dict(self.every_evaluation())[name]
        assert model.claim
        return model, model.claim

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), given=st.booleans(), lost=st.booleans())
    def evaluate(self, data: st.DataObject, given: bool, lost: bool) -> None:
        """Somebody asks for an evaluation, with references or without."""
        job_id = self.job(data)
        job = self.jobs[job_id]
        references = {0: ["a"], len(job.items) - 1: ["b", "c"]} if given else None
        name = f"eval_{next(self.names)}"
        with patch.object(evaluations, "new_evaluation_id", lambda: name):
            if not job.over or len(job.evaluations) == MOST:
                with pytest.raises(Conflict):
                    self.evaluations.create(job_id, job.tenant, ASKED, references)
                return
            self.scripts.lose = lost
            made = self.evaluations.create(job_id, job.tenant, ASKED, references)
        assert (made.id, made.status, made.total) == (name, "queued", len(job.items))
        job.evaluations[name] = EvaluationModel(len(job.items), referenced=given)

    @rule(lost=st.booleans())
    def claim(self, lost: bool) -> None:
        """An evaluator looks for work. Where the answer is lost it asks again, and what it was
        given first has a holder that does not know of it."""
        due = {name: each for name, each in self.every_evaluation() if each.due and not each.over}
        self.scripts.lose = lost
        token = secrets.token_hex(8)
        with patch.object(secrets, "token_hex", lambda _: token):
            claimed = self.work.claim()
        self.scripts.lose = False
        taken = [name for name, each in due.items() if self.was_taken(name, each, token)]
        assert len(taken) <= (2 if lost else 1)
        for name in taken:
            claim = due[name].claim = Claimed(name, "", "", ASKED, 0, 0, False, None, token)
            self.claims.append(claim)
        left = [name for name, each in due.items() if each.due and not each.over]
        if claimed is None:
            assert not left and (lost or not taken)
            return
        assert claimed.id in taken
        model = due[claimed.id]
        assert (claimed.done, claimed.total) == (model.done, model.total)
        assert claimed.referenced == model.referenced

    def was_taken(self, name: str, model: EvaluationModel, token: str) -> bool:
        """Whether this claim has it now; one that is claimed too often fails instead."""
        status, claim = self.mill.client.hmget(keys.evaluation(name), "status", "claim")
        if status == b"failed":
            assert model.tries == MOST_TRIES
            self.struck["evaluator"] += 1
            model.status, model.claim = "failed", None
            return False
        if claim != token.encode():
            return False
        model.status, model.due = "running", False
        model.tries += 1
        return True

    @precondition(lambda self: self.held())
    @rule(data=st.data(), chunks=st.sampled_from([1, 1, 9]), failed=st.booleans())
    def score(self, data: st.DataObject, chunks: int, failed: bool) -> None:
        """An evaluator stores the next scores, and ends with a summary once it has all."""
        model, claim = self.picked(data)
        for _ in range(chunks):
            if model.done == model.total:
                break
            start, model.done = model.done, min(model.done + STEP, model.total)
            assert self.work.keep(claim, start, b"scores" * model.done, model.done)
            model.tries, model.due = 0, False
        if model.done < model.total or chunks == 1:
            return
        self.scripts.lose = True
        error: Any = {"error": {"code": "made_up", "message": "it failed"}} if failed else {}
        assert self.work.end(claim, Ended({}, {}, **error))[0]
        model.status = "failed" if failed else "done"

    @precondition(lambda self: self.held())
    @rule(data=st.data(), dies=st.sampled_from([True, True, False]))
    def leave_it(self, data: st.DataObject, dies: bool) -> None:
        """An evaluator dies or freezes, and its lease ends; or it gives back what it has."""
        model, claim = self.picked(data)
        if dies:
            self.let_lapse(model, claim)
            return
        lost = self.scripts.lose  # then it has nothing to give back when it says so again
        assert self.work.give_back(claim) or lost
        model.claim, model.tries, model.due = None, max(0, model.tries - 1), True

    def let_lapse(self, model: EvaluationModel, claim: Claimed) -> None:
        assert self.work._hold(claim, 0, free=False, noted={})
        model.due = True

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def keep_dying(self, data: st.DataObject) -> None:
        """Evaluators die at an evaluation, one after the other, until it fails. They may be given
        all others before."""
        model, _ = self.picked(data)
        for _ in range(MOST_TRIES + len(list(self.every_evaluation())) + 1):
            if model.claim:
                self.let_lapse(model, model.claim)
            self.claim(False)
            if model.over:
                break
        assert model.status == "failed"

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def be_ahead(self, data: st.DataObject) -> None:
        """The server has forgotten scores that an evaluator stored: none may follow them."""
        model, claim = self.picked(data)
        start = model.done + STEP
        assert not self.work.keep(claim, start, b"ahead", start + STEP)

    def late(self) -> list[Claimed]:
        """Claims that are no more: others have the evaluations by now, or they are gone."""
        current = [each.claim for _, each in self.every_evaluation()]
        return [claim for claim in self.claims if claim not in current]

    @precondition(lambda self: self.late())
    @rule(data=st.data())
    def come_late(self, data: st.DataObject) -> None:
        """An evaluator that was frozen goes on: nothing that it writes is taken."""
        claim = data.draw(st.sampled_from(self.late()))
        assert not self.work.hold(claim, tokenizer="zh")
        assert not self.work.keep(claim, 0, b"late", 4)
        assert self.work.end(claim, Ended({"late": {}}, {})) == (False, False)

    @invariant()
    def evaluations_agree(self) -> None:
        """A job has the evaluation that it asked for, and those that others did, each of them once,
        with one event at its end; of other jobs nothing is left."""
        for job_id, job in self.jobs.items():
            if job.over and job.evaluate and job.count(ItemState.SUCCEEDED):
                own = job_id.replace("job_", "eval_")
                job.evaluations.setdefault(own, EvaluationModel(len(job.items)))
        pipe = self.mill.client.pipeline(transaction=False)
        for job_id in self.jobs:
            pipe.zrange(keys.job(job_id, "evals"), 0, -1).lrange(keys.job(job_id, "hooks"), 0, -1)
        for name, _ in self.every_evaluation():
            pipe.hmget(keys.evaluation(name), "status", "done", "total", "tries")
            pipe.hlen(keys.evaluation(name, "scores")).exists(keys.evaluation(name, "refs"))
        for tenant in ("a", "b"):
            pipe.zrange(keys.evaluations_due(tenant), 0, -1)
        pipe.zrange(keys.EVALUATIONS_TURNS, 0, -1).smembers(f"{keys.PREFIX}evaluated")
        pipe.keys(f"{keys.PREFIX}eval:*").keys(f"{keys.PREFIX}hook:*")
        answers = iter(pipe.execute())
        events = {event for job in self.jobs.values() for event in self.told(job, answers)}
        for _, model in self.every_evaluation():
            check_record(model, next(answers), next(answers), next(answers))
        waiting = {
            tenant: {n for j in self.jobs.values() if j.tenant == tenant for n in j.unfinished()}
            for tenant in ("a", "b")
        }
        assert {tenant: set(text(next(answers))) for tenant in waiting} == waiting
        assert set(text(next(answers))) == {tenant for tenant, names in waiting.items() if names}
        assert set(text(next(answers))) == {j for j, job in self.jobs.items() if job.evaluations}
        there = {name.split(":")[2] for name in text(next(answers))}
        assert there == {name for name, _ in self.every_evaluation()}
        assert {name.split(":")[2] for name in text(next(answers))} == events

    def told(self, job: JobModel, answers: Iterator[list[bytes]]) -> list[str]:
        """The events of a job: one for each evaluation that is over."""
        assert set(text(next(answers))) == set(job.evaluations)
        events = text(next(answers))
        over = [name for name, each in job.evaluations.items() if each.over]
        assert sorted(events) == sorted(f"evt_{name}_evaluation_finished" for name in over)
        return events


def check_record(model: EvaluationModel, record: list[bytes], chunks: int, references: int) -> None:
    status, done, total, tries = record
    assert (status.decode(), int(done), int(total)) == (model.status, model.done, model.total)
    assert tries is None if model.over else int(tries) == model.tries
    assert (chunks, bool(references)) == (-(-model.done // STEP), model.referenced)


def text(names: list[bytes]) -> list[str]:
    return [name.decode() for name in names]
