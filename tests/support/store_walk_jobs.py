"""Steps of the random walk that submit jobs and change them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from common.errors import Conflict
from tests.support.store_model import ASKED, JobModel, item_models, needs
from tests.support.store_walk import Walk


class SubmittingSteps(Walk):
    @rule(items=st.integers(1, 12), tenant=st.sampled_from("ab"), interactive=st.booleans())
    def attach(self, items: int, tenant: str, interactive: bool) -> None:
        if len(self.jobs) < 6:
            slots, beside = needs(items), items % 2 == 0
            name = f"job_{next(self.names)}"
            asked: dict[str, Any] = {"evaluate": ASKED.to_json()} if items % 4 else {}
            job_id = self.mill.submit(
                slots,
                tenant,
                name,
                interactive=int(interactive),
                beside=beside,
                idempotency=(f"key-{name}", "content") if items % 3 == 0 else ("", ""),
                surplus=items % 3,
                hooks="evaluation.finished",
                **asked,
            )
            job = JobModel(tenant, item_models(slots, beside), cost=10, evaluate=bool(asked))
            self.jobs[job_id] = job

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), items=st.integers(1, 5), lost=st.booleans())
    def append(self, data: st.DataObject, items: int, lost: bool) -> None:
        self.scripts.lose = lost
        job_id, slots, beside = self.job(data), needs(items), items % 2 == 1
        job, stage = self.jobs[job_id], self.mill.stage(slots, named=False, beside=beside)
        send = partial(
            self.mill.store.append,
            job_id,
            stage,
            tokens=items * 10,
            n_max=max(slots),
            most_items=1000,
            surplus=items,
            evaluate=ASKED.to_json() if items == 5 else "",
        )
        if job.over or job.cancelled:
            with pytest.raises(Conflict):
                send()
        else:
            added = send()
            assert (added.first, added.count) == (len(job.items), items)
            job.items += item_models(slots, beside)
            job.evaluate = job.evaluate or items == 5
            job.obey_wishes()

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        wish=st.sampled_from(["paused", "resumed", "cancel", "deadline", "deadline", "priority"]),
        lost=st.booleans(),
    )
    def edit(self, data: st.DataObject, wish: str, lost: bool) -> None:
        self.scripts.lose = lost
        job_id = self.job(data)
        job = self.jobs[job_id]
        if wish == "cancel":
            self.mill.store.cancel(job_id)
            if not job.over:
                job.cancelled = True
                job.obey_wishes()
            return
        field_name, value = {
            "paused": ("paused", 1),
            "resumed": ("paused", 0),
            "priority": ("priority", 3),
            "deadline": ("deadline", self.mill.store.now() - 1),
        }[wish]
        if job.over:
            with pytest.raises(Conflict):
                self.mill.store.edit(job_id, field_name, value)
            return
        self.mill.store.edit(job_id, field_name, value)
        if field_name == "paused":
            job.paused = bool(value)
        if field_name == "deadline":
            self.tick()
            job.expired = True
            job.obey_wishes()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self.job(data)
        self.mill.store.delete(job_id)
        del self.jobs[job_id]
