"""Rows of a worker process whose model has weights: formats, thoughts, and failures with text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from bench.lib.jobs import job_fields
from common.result_row import Row
from common.store.fleet import Fleet
from common.store.jobs import new_job_id
from common.stored_item import StoredItem
from tests.support.tiny_folder import tiny_folder
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from tests.unit.engine.guided import PERSON, SCHEMA, json_model

LETTERS = [y for length in range(1, 5) for y in ("y" * length, " " + "y" * length)]
ITEMS: dict[str, StoredItem] = {
    "schema": {"prompt": "a person:", "params": {"output": SCHEMA}},
    "free": {"prompt": "once", "params": {"max_tokens": 5}},
    "cut off": {"prompt": "a person:", "params": {"output": SCHEMA, "max_tokens": 4}},
    "none left": {
        "prompt": "why",
        "params": {"output": {"regex": "a{0,3}yyyy"}, "bad_words": LETTERS},
    },
    "chat": {
        "messages": [{"role": "user", "content": "hi"}],
        "params": {"output": SCHEMA, "thinking": {"max_tokens": 6}},
        "stream": True,
    },
    "job's": {"prompt": "yes or no?"},
    "left": {"prompt": "anything", "params": {"output": {"text": True}, "max_tokens": 4}},
}


def run(workers: Workers, queue: Queue, folder: Path) -> dict[str, Row]:
    name = folder.name
    process = workers.start(wait=False, model=folder, device="cpu", dtype="float32", slots=8)
    store = queue.store
    wait_until(lambda: store.client.zcard("pm:workers") > 0, lambda: workers.log(process), 120)
    stage = store.stage()
    for item in ITEMS.values():
        stage.add(item)
    stage.close()
    spec = {"params": {"max_tokens": 120, "output": {"choice": ["yes", "no"]}}}
    digest = Fleet(store.client).model(name).digest
    fields = job_fields(name, digest, len(ITEMS), spec, cost=150)
    job_id = store.attach(stage, fields, job_id=new_job_id()).job_id
    queue.wait_status(job_id, "completed", 60)
    return dict(zip(ITEMS, store.rows(job_id, 0, len(ITEMS)), strict=True))


def test_rows_follow_their_formats_and_tell_thoughts_from_text(
    workers: Workers, queue: Queue, tmp_path: Path
) -> None:
    rows = run(workers, queue, tiny_folder(tmp_path / "tiny", json_model()))
    outputs: dict[str, Any] = {name: row["outputs"][0] for name, row in rows.items()}
    for name in ("schema", "chat"):
        assert rows[name]["status"] == "succeeded" and outputs[name]["json_valid"]
        jsonschema_rs.validate(PERSON, json.loads(outputs[name]["text"]))
    assert outputs["chat"]["reasoning"] and "reasoning" not in outputs["schema"]
    assert outputs["cut off"]["finish_reason"] == "length"
    assert outputs["cut off"]["json_valid"] is False and outputs["cut off"]["text"]
    assert rows["none left"]["status"] == "failed" and rows["none left"]["error"]
    assert rows["none left"]["error"]["code"] == "no_token_left"
    assert set(outputs["none left"]["text"]) <= {"a"}
    assert outputs["job's"]["text"] in ("yes", "no") and "json_valid" not in outputs["job's"]
    assert {outputs[name]["token_count"] for name in ("left", "free")} <= {1, 2, 3, 4, 5}
