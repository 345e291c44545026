"""A judge on a worker process whose model has weights: what it answers is a label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.settings import Settings
from tests.support.derived import derived, items, job, settle
from tests.support.tiny_folder import tiny_folder
from tests.support.tokenizers import for_json
from tests.support.waiting import wait_until
from tests.support.web import Web
from tests.support.workers import Workers
from tests.unit.engine.guided import json_model

TEMPLATE = {"prompt": "one: {{output_a}} two: {{output_b}} better: "}


@pytest.fixture
def web(redis_url: str) -> Iterator[Web]:
    made = Web(Settings.load(redis_url=redis_url))
    yield made
    made.services.watches.close()
    made.services.grammars.end()
    made.services.redis.close()


def completed(web: Web, job_id: str) -> None:
    wait_until(lambda: job(web, job_id)["status"] == "completed", lambda: job(web, job_id))


def test_a_model_that_always_answers_a_finds_only_ties(
    web: Web, workers: Workers, tmp_path: Path
) -> None:
    folder = tiny_folder(tmp_path / "tiny", json_model())
    process = workers.start(wait=False, model=folder, device="cpu", dtype="float32", slots=8)
    redis = web.services.redis
    wait_until(lambda: redis.zcard("pm:workers") > 0, lambda: workers.log(process), 120)
    asked: dict[str, Any] = {"model": folder.name, "prompts": ["a", "b", "c"]}
    params = [{"max_tokens": 4, "seed": seed, "temperature": 1.5} for seed in (1, 2)]
    jobs = [web.post("/v1/jobs", json=asked | {"params": each}).json["id"] for each in params]
    for each in jobs:
        completed(web, each)
    (label,) = for_json().encode("A")
    biased = {"logit_bias": {str(label): 100}}
    made = derived(web, *jobs, judge="pairs", template=TEMPLATE, model=folder.name, params=biased)
    settle(web)
    completed(web, made)
    assert {row["outputs"][0]["text"] for row in items(web, made)} == {"A"}
    totals = web.get(f"/v1/jobs/{made}/verdicts").json["totals"]
    assert (totals["wins_a"], totals["ties"], totals["wins_b"]) == (0, 3, 0)
