"""Batches through the official client: every request answered once, under its own name, in the
endpoint's own shape."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.completion import Completion

from tests.support.batches import CHAT, COMPLETIONS, BatchUser, chat, completion


def test_creating_a_batch_answers_at_once_and_validates_afterwards(running: BatchUser) -> None:
    batch = running.submit([chat("a", "one two")], metadata={"name": "nightly"})
    assert (batch.object, batch.status, batch.completion_window, batch.endpoint) == (
        "batch",
        "validating",
        "24h",
        CHAT,
    )
    assert batch.metadata == {"name": "nightly"}
    assert batch.expires_at == batch.created_at + 86400
    assert (batch.output_file_id, batch.error_file_id, batch.errors) == (None, None, None)
    done = running.wait(batch)
    assert (done.status, done.model) == ("completed", "echo")
    assert (
        done.in_progress_at
        and done.completed_at
        and done.completed_at >= done.in_progress_at >= done.created_at
    )
    assert done.request_counts and done.request_counts.to_dict() == {
        "total": 1,
        "completed": 1,
        "failed": 0,
    }
    assert done.usage and (
        done.usage.input_tokens,
        done.usage.output_tokens,
        done.usage.total_tokens,
    ) == (2, 2, 4)


def test_each_chat_line_is_answered_with_its_own_settings(running: BatchUser) -> None:
    lines = [
        chat("short", "one two three", max_tokens=2),
        chat("twice", "one two three", n=2),
        chat("probable", "one two", logprobs=True, top_logprobs=1),
        chat("labelled", "one", metadata={"team": "blue"}),
    ]
    done = running.run(lines)
    rows = {row["custom_id"]: row for row in running.rows(done.output_file_id)}
    assert list(rows) == ["short", "twice", "probable", "labelled"], "in the order of the file"
    assert all(row["id"].startswith("batch_req_") and row["error"] is None for row in rows.values())
    assert {row["response"]["status_code"] for row in rows.values()} == {200}
    found = {
        name: ChatCompletion.model_validate(row["response"]["body"]) for name, row in rows.items()
    }
    assert (found["short"].choices[0].message.content, found["short"].choices[0].finish_reason) == (
        "one two",
        "length",
    )
    assert [choice.index for choice in found["twice"].choices] == [0, 1]
    assert found["probable"].choices[0].logprobs is not None
    assert rows["labelled"]["response"]["body"]["metadata"] == {"team": "blue"}
    assert len({row["response"]["request_id"] for row in rows.values()}) == len(rows)


def test_completions_take_text_token_ids_and_echo(running: BatchUser) -> None:
    lines = [
        completion("text", "a b c", max_tokens=8),
        completion("listed", ["a b"], max_tokens=8),
        completion("ids", [7, 8, 9], max_tokens=8),
        completion("score", "a b c", max_tokens=0, echo=True, logprobs=1),
    ]
    done = running.run(lines, COMPLETIONS)
    rows = {row["custom_id"]: row["response"]["body"] for row in running.rows(done.output_file_id)}
    found = {name: Completion.construct(**body) for name, body in rows.items()}
    assert {name: each.choices[0].text for name, each in found.items()} == {
        "text": "a b c",
        "listed": "a b",
        "ids": "7 8 9",
        "score": "a b c",
    }
    scored = found["score"].choices[0].logprobs
    assert scored and scored.token_logprobs and len(scored.token_logprobs) == 3


def test_a_request_that_is_refused_is_a_row_and_the_others_run(running: BatchUser) -> None:
    lines = [
        chat("good", "one"),
        chat("cold", "one", temperature=-1),
        chat("spoken", "one", modalities=["audio"]),
        chat("streaming", "one", stream=True),
        chat("long", "w " * 9000),
        {**chat("nameless", "one"), "body": {"model": "echo"}},
    ]
    done = running.run(lines)
    assert done.status == "completed"
    assert done.request_counts and done.request_counts.to_dict() == {
        "total": 6,
        "completed": 1,
        "failed": 5,
    }
    assert [row["custom_id"] for row in running.rows(done.output_file_id)] == ["good"]
    rows = {row["custom_id"]: row["response"] for row in running.rows(done.error_file_id)}
    assert {row["status_code"] for row in rows.values()} == {400}
    errors = {name: row["body"]["error"] for name, row in rows.items()}
    assert all(set(error) == {"message", "type", "param", "code"} for error in errors.values())
    assert {name: error["param"] for name, error in errors.items()} == {
        "cold": "temperature",
        "spoken": "modalities",
        "streaming": "stream",
        "long": "messages",
        "nameless": "messages",
    }
    assert errors["long"]["code"] == "context_length_exceeded"


def test_rows_name_what_was_ignored_and_tell_what_took_effect(running: BatchUser) -> None:
    lines = [
        chat("plain", "one"),
        chat("ignored", "one", store=True, best_of=4, skip_special_tokens=True),
        chat("adapted", "one", seed=-1, top_p=0, top_k=-1),
        chat("unknown", "one", cache_prompt=True),
        chat("newer", "one", max_completion_tokens=9000),
    ]
    done = running.run(lines)
    rows = {row["custom_id"]: row["response"] for row in running.rows(done.output_file_id)}
    assert rows["ignored"]["ignored_params"] == ["store", "best_of", "skip_special_tokens"]
    assert "ignored_params" not in rows["plain"] and "params" not in rows["plain"]["body"]
    told = rows["adapted"]["body"]["params"]
    assert (told.keys(), told["temperature"], told["top_k"]) == (
        {"seed", "temperature", "top_k"},
        0,
        0,
    )
    assert told["seed"] >= 0
    refused = {
        row["custom_id"]: row["response"]["body"]["error"]
        for row in running.rows(done.error_file_id)
    }
    assert {name: (each["code"], each["param"]) for name, each in refused.items()} == {
        "unknown": ("unknown_field", "cache_prompt"),
        "newer": ("context_length_exceeded", "messages"),
    }


def test_a_prompt_list_in_one_line_is_refused_by_name(running: BatchUser) -> None:
    done = running.run([completion("many", ["a", "b"])], COMPLETIONS)
    (row,) = running.rows(done.error_file_id)
    assert "a line of its own" in row["response"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("window", "seconds"), [("24h", 86400), ("90m", 5400), ("1h30m", 5400), ("48h", 172800)]
)
def test_any_window_of_hours_and_minutes_is_the_deadline(
    running: BatchUser, window: str, seconds: int
) -> None:
    batch = running.submit([chat("a", "x")], window=window)
    assert batch.completion_window == window and batch.expires_at == batch.created_at + seconds
    running.wait(batch)
    job = running.store.job(f"job_0{batch.id.removeprefix('batch_')}")
    assert job.deadline is not None
    assert job.deadline // 1000 == batch.expires_at


def test_a_file_that_is_not_there_is_not_found_at_once(running: BatchUser) -> None:
    for file_id in ("file-nothing", running.upload([chat("a", "x")], running.client_of("other"))):
        with pytest.raises(openai.NotFoundError):
            running.client.batches.create(
                input_file_id=file_id, endpoint=CHAT, completion_window="24h"
            )


def test_another_tenants_batch_is_not_found(running: BatchUser) -> None:
    done = running.run([chat("a", "x")])
    other = running.client_of("other")
    for call in (
        lambda: other.batches.retrieve(done.id),
        lambda: other.batches.cancel(done.id),
        lambda: other.files.content(str(done.output_file_id)),
        lambda: other.files.retrieve(str(done.output_file_id)),
        lambda: other.files.delete(str(done.output_file_id)),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    assert not [batch for batch in other.batches.list() if batch.id == done.id]


def test_batches_are_listed_newest_first_a_page_at_a_time(running: BatchUser) -> None:
    client = running.client_of("lister")
    file_id = running.upload([chat("a", "x")], client)
    made = [
        client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h").id
        for _ in range(5)
    ]
    page = client.batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (made[:-3:-1], True)
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1], (
        "the client pages by itself"
    )


def test_a_batch_that_is_over_cannot_be_cancelled(running: BatchUser) -> None:
    done = running.run([chat("a", "x")])
    with pytest.raises(openai.ConflictError):
        running.client.batches.cancel(done.id)


def test_the_same_idempotency_key_makes_the_same_batch(running: BatchUser) -> None:
    options: dict[str, Any] = {
        "input_file_id": running.upload([chat("a", "x")]),
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    header = {"Idempotency-Key": "once"}
    first, again = (
        running.client.batches.create(**options, extra_headers=header) for _ in range(2)
    )
    assert first.id == again.id
    with pytest.raises(openai.UnprocessableEntityError):
        running.client.batches.create(**options | {"completion_window": "1h"}, extra_headers=header)


def test_a_batchs_job_shows_among_the_jobs(running: BatchUser) -> None:
    done = running.run([chat("a", "x")], metadata={"name": "nightly"})
    listed = running.client.get("/jobs?limit=100", cast_to=object)
    assert isinstance(listed, dict)
    (job,) = [job for job in listed["data"] if job["batch"] == done.id]
    assert (job["status"], job["metadata"]) == ("completed", {"name": "nightly"})
