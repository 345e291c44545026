"""What is read by lines has as many lines as it should, however a reader tells lines apart."""

from __future__ import annotations

import io
import json

import httpx2
import pytest

from common.store.batches import job_of
from common.store.outbox import Event
from common.store.packing import json_line, json_text
from tests.support.web import Web
from web.openai import chat_stream
from web.openai.answer_options import AnswerOptions
from web.openai.batch_validator import BatchValidator
from web.openai.rendering import chunk_choice, render_chunk
from worker.webhooks import envelope

# Whatever `str.splitlines` ends a line at, and a backslash before each.
ENDS = "a\nb\rc\r\nd\x0be\x0cf\x1cg\x1dh\x1ei\x85j\u2028k\u2029l \\\x85 \\\u2028 \\\\\u2029"


def lines_of(content: bytes) -> list[str]:
    """The lines that a body has: to Python, and to httpx, where a piece may end anywhere."""
    lines = content.decode().splitlines()
    pieces = (content[at : at + 3] for at in range(0, len(content), 3))
    assert list(httpx2.Response(200, content=pieces).iter_lines()) == lines
    assert content.split(b"\n") == [*(line.encode() for line in lines), b""]
    return lines


def test_a_line_of_json_is_one_line_and_says_the_same() -> None:
    for value in (ENDS, {ENDS: [ENDS, 1, None]}, "\u2028", "\U0001f980 ü \u2027\u202a\x84\x86"):
        (line,) = lines_of(json_line(value))
        assert json.loads(line) == value and json.loads(json_text(value)) == value
    assert "ü" in json_text("ü"), "other text stays as it is"


@pytest.fixture
def job(web: Web) -> str:
    """Two finished items whose names, metadata and answers have line ends of every kind in them."""
    items = [
        {"prompt": f"one {ENDS}", "custom_id": f"c{i}", "metadata": {"note": ENDS}}
        for i in range(2)
    ]
    job_id = str(web.post("/v1/jobs", json={"items": items, "metadata": {"note": ENDS}}).json["id"])
    web.worker().run(text=ENDS)
    return job_id


def test_results_have_a_line_an_item(web: Web, job: str) -> None:
    rows = [json.loads(line) for line in lines_of(web.get(f"/v1/jobs/{job}/results.jsonl").data)]
    assert [row["outputs"][0]["text"] for row in rows] == [f"{ENDS} {index}" for index in range(2)]
    assert [row["metadata"] for row in rows] == [{"note": ENDS}] * 2


@pytest.mark.parametrize("path", ["", "/items"])
def test_an_answer_is_one_line(web: Web, job: str, path: str) -> None:
    (line,) = lines_of(web.get(f"/v1/jobs/{job}{path}").data + b"\n")
    found = json.loads(line)
    assert (found["data"][0] if path else found)["metadata"] == {"note": ENDS}


def test_events_have_a_line_a_field_and_every_block_is_an_event(web: Web, job: str) -> None:
    content = web.get(f"/v1/jobs/{job}/events").data
    lines = lines_of(content)
    blocks = "\n".join(lines).strip("\n").split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    assert [field["event"] for field in fields] == [
        "item.finished",
        "item.finished",
        "job.finished",
    ]
    assert [("retry" in field) for field in fields] == [True, False, False], (
        "with the first event, not before it"
    )
    told = [json.loads(field["data"]) for field in fields]
    assert [each["outputs"][0]["text"] for each in told[:2]] == [f"{ENDS} 0", f"{ENDS} 1"]


def test_a_batchs_files_have_a_line_a_request(web: Web) -> None:
    body = {"model": "echo", "prompt": ENDS}
    lines = [
        {"custom_id": f"c{ENDS}{i}", "method": "POST", "url": "/v1/completions", "body": body}
        for i in range(3)
    ]
    content = b"".join(json_line(line) for line in lines)
    file = web.post(
        "/v1/files", data={"file": (io.BytesIO(content), "a.jsonl"), "purpose": "batch"}
    ).json["id"]
    asked = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = web.post("/v1/batches", json=asked).json["id"]
    assert BatchValidator(web.services).validate_due()
    worker = web.worker()
    worker.finish(worker.take(1), error=f"broken {ENDS}")
    while web.services.store.job(job_of(batch)).status != "completed":
        worker.finish(worker.take(), text=ENDS)
    made = web.get(f"/v1/batches/{batch}").json
    for name, count in (("output_file_id", 2), ("error_file_id", 1)):
        found = lines_of(web.get(f"/v1/files/{made[name]}/content").data)
        assert [ENDS in json.loads(line)["custom_id"] for line in found] == [True] * count


def test_a_chunk_of_a_chat_is_one_line() -> None:
    options = AnswerOptions("/v1/chat/completions", "echo")
    content = chat_stream._event(
        render_chunk(options, [chunk_choice(0, {"content": ENDS})], id_="c", created=0)
    )
    data, blank = lines_of(content)
    assert (
        blank == ""
        and json.loads(data.removeprefix("data: "))["choices"][0]["delta"]["content"] == ENDS
    )


def test_a_webhooks_body_is_one_line() -> None:
    event = Event("evt", "acme", "job", "job.finished", 1_000, {"model": ENDS}, [], "claim", 0)
    (line,) = lines_of(envelope(event) + b"\n")
    assert json.loads(line)["data"] == {"model": ENDS}
