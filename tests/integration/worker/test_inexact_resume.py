"""Rows that an engine cannot go on with exactly say what became of their checkpoint; what was
streamed of them stands."""

from __future__ import annotations

import pytest

from bench.lib.jobs import job_fields
from common.store.connection import connect
from common.store.jobs import JobStore, new_job_id
from common.stored_item import StoredItem
from tests.integration.worker.test_other_kernels import has_tokens, serving
from tests.support.waiting import wait_until
from tests.support.workers import DIGEST, Queue
from worker.model_server import ModelServer

WORDS = 60
PROMPT = "a b c d e f g"


def held_back(server: ModelServer, queue: Queue, item: StoredItem) -> str:
    """A job of this item, which was paused after some of its tokens."""
    server.engine.goes_on = lambda _params: False  # type: ignore[method-assign]
    stage = queue.store.stage()
    stage.add(item)
    stage.close()
    spec = {"params": {"max_tokens": WORDS, "temperature": 0.0, "ignore_eos": True}}
    fields = job_fields("echo", DIGEST, 1, spec, cost=80)
    attached = queue.store.attach(stage, fields, job_id=new_job_id())
    queue.ring(attached.rings)
    wait_until(lambda: has_tokens(server))
    queue.store.edit(attached.job_id, "paused", 1)
    wait_until(lambda: queue.count(attached.job_id, "pending") == 1)
    return attached.job_id


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"prompt": PROMPT}, "from_start"),
        ({"prompt": PROMPT, "stream": True}, "other_draws"),
        ({"prompt": PROMPT, "stream": True, "params": {"logprobs": 1}}, "from_start"),
    ],
)
def test_a_row_says_what_became_of_its_checkpoint(
    redis_url: str, queue: Queue, item: StoredItem, said: str
) -> None:
    store = JobStore(connect(redis_url))
    with serving(redis_url, "a", delay=0.05) as server:
        job_id = held_back(server, queue, item)
    told = [entry for _, entry in store.said(job_id)]
    with serving(redis_url, "a", delay=0.001) as server:
        server.engine.goes_on = lambda _params: False  # type: ignore[method-assign]
        queue.ring(store.edit(job_id, "paused", 0))
        queue.wait_status(job_id, "completed")
    (row,) = store.rows(job_id, 0, 1)
    assert row["outputs"][0]["token_count"] == WORDS
    assert row.get("resumed_on") == said
    assert bool(told) == ("stream" in item)


def test_prompt_log_probabilities_are_whole_after_a_resume(redis_url: str, queue: Queue) -> None:
    """A checkpoint has none."""
    with serving(redis_url, "a", delay=0.05) as server:
        item: StoredItem = {"prompt": PROMPT, "params": {"prompt_logprobs": 0}}
        job_id = held_back(server, queue, item)
    with serving(redis_url, "a", delay=0.001):
        queue.ring(queue.store.edit(job_id, "paused", 0))
        queue.wait_status(job_id, "completed")
    (row,) = queue.store.rows(job_id, 0, 1)
    found = row["prompt_logprobs"]
    assert found is not None and len(found) == 7
    assert "resumed_on" not in row
