"""What a preview shows is what the worker's engine gets: the same text and the same tokens, of
every row, however it was prepared."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.prompting import prepare
from common.settings import Settings
from tests.integration.worker.recording import CONTEXT
from tests.support.tokenizers import byte_level
from tests.support.waiting import wait_until
from tests.support.web import Web
from tests.support.workers import Workers
from web.jobs.rendering import Renderer

ROWS, SHOWN = 200, 20
PIECES = [
    "The quick brown fox ", "jumps over ", "doesnâ€™t ", "e\u0301", "<p>one</p>", "&amp;", "\u200b",
    "👨\u200d👩\u200d👧", "你好", "{{other}}", "{{", "}}", "\x00", " \t ", "\r\n\r\n\r\n", "=1+1",
    "\u2028", "🇩🇪🇫🇷", "a < b", "<script>x</script>", "\x85", "</s>", "<s>",
]  # fmt: skip
CHAT = [
    {"role": "system", "content": "You write about {{ topic }}. {{{{literal}} "},
    {"role": "user", "content": "  {{text}}\n\n{{text}}\n{{other}} "},
]
STEPS = ["whitespace", "controls", "html", "unicode", "encoding"]
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"template": {"prompt": "{{topic}}: {{text}}{{other}}"}},
    "chat": {"template": {"messages": CHAT}, "clean": STEPS},
    "cut": {
        "template": {"prompt": "{{text}} {{topic}}{{other}}"}, "clean": ["html"],
        "truncate": {"to": 40, "keep": "both", "variable": "text"},
    },
    "fitted": {
        "template": {"messages": CHAT}, "clean": ["whitespace"],
        "truncate": {"to": "fit", "keep": "end", "variable": "text"},
        "chat_template_kwargs": {"tone": "!"},
    },
    "without a template": {"clean": STEPS, "truncate": {"to": 60}},
}  # fmt: skip


@pytest.fixture
def web(redis_url: str) -> Iterator[Web]:
    made = Web(Settings.load(redis_url=redis_url))
    yield made
    made.services.watches.close()
    made.services.redis.close()


def items(job: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Rows of which some are much too long for the model."""
    dice = random.Random(seed)

    def text() -> str:
        return "x" + "".join(dice.choices(PIECES, k=dice.choice([1, 3, 8, 60])))

    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        if "template" not in job:
            rows.append({"prompt": text()})
            continue
        variables = {
            "text": text(),
            "topic": dice.choice(["7", 7, 1.5, ["a"]]),
            "other": "<i>o</i>",
        }
        rows.append({"vars": {**variables, "unused": number}})
    for row in rows[::3]:
        row["params"] = {"max_tokens": dice.randint(1, 30)}
    return rows


def test_preview_text_and_counts_are_what_the_workers_engine_gets(
    workers: Workers, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was made of the texts is stored, because they are long."""
    record = tmp_path / "engine.jsonl"
    record.touch()
    monkeypatch.setenv("RECORD", str(record))
    workers.start(app="tests.integration.worker.recording")
    usual = prepare.LONG
    for name, long in [*((name, usual) for name in JOBS), ("fitted", 0), ("without a template", 0)]:
        monkeypatch.setattr(prepare, "LONG", long)
        _check(web, record, name, is_stored=long == 0)


def _check(web: Web, record: Path, name: str, is_stored: bool) -> None:
    before = record.stat().st_size
    job = {"model": "echo", "params": {"max_tokens": 20}, **JOBS[name]}
    rows, shown = items(job, seed=len(name)), []
    for at in range(0, ROWS, SHOWN):
        body = {**job, "items": rows[at : at + SHOWN]}
        answer = web.post(f"/v1/jobs/preview?rows={SHOWN}", json=body)
        assert answer.status_code == 200, answer.text
        shown += answer.json["rows"]
    good = [place for place, row in enumerate(shown) if not row["errors"]]
    assert {each["code"] for row in shown for each in row["errors"]} <= {"context_length_exceeded"}
    assert len(good) >= (ROWS if "truncate" in job and name != "cut" else ROWS / 2)
    submitted = web.post("/v1/jobs", json={**job, "items": [rows[place] for place in good]})
    assert submitted.status_code == 202, submitted.text
    job_id = submitted.json["id"]
    wait_until(
        lambda: web.get(f"/v1/jobs/{job_id}").json["status"] == "completed", "it never ended"
    )
    got = [json.loads(line) for line in record.read_bytes()[before:].splitlines()]
    assert Counter(text for text, _ in got) == Counter(shown[place]["text"] for place in good)
    tokens = {text: len(ids) for text, ids in got}
    listed = web.get(f"/v1/jobs/{job_id}/items?limit=1000").json["data"]
    for item, place in zip(listed, good, strict=True):
        row = shown[place]
        assert item["status"] == "succeeded", item
        assert row["prompt_tokens"] == tokens[row["text"]] == item["usage"]["prompt_tokens"]
        assert (item["truncated_tokens"] or 0) == row["truncated_tokens"]
        assert row["prompt_tokens"] + item["params"]["max_tokens"] <= CONTEXT
    assert any("made" in item for item in web.services.store.items(job_id, 0, ROWS)) is is_stored
    store, stored = web.services.store, web.services.store.job(job_id)
    again = Renderer(web.services, stored, store.prep(job_id))
    assert [again.text(item) for item in store.items(job_id, 0, ROWS)] == [
        shown[place]["text"] for place in good
    ]
    cut = sum(row["truncated_tokens"] > 0 for row in shown)
    assert bool(cut) is ("truncate" in job)


def test_the_recorded_model_needs_several_tokens_for_a_character() -> None:
    assert len(byte_level().encode("你", special=False)) > 1
