"""A file with a bad line runs nothing, and every bad line is told."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.support.batches import CHAT, BatchUser, chat, jsonl

BAD: list[tuple[Any, str, str | None]] = [
    (b'{"custom_id": "a"', "invalid_json_line", None),
    (b"[1, 2]", "wrong_type", None),
    ({"method": "POST", "url": CHAT, "body": {"model": "echo"}}, "missing_field", "custom_id"),
    ({"custom_id": "b", "method": "POST", "url": CHAT}, "missing_field", "body"),
    (
        {"custom_id": "c", "method": "GET", "url": CHAT, "body": {"model": "echo"}},
        "invalid_value",
        "method",
    ),
    ({**chat("d", "x"), "url": "/v1/embeddings"}, "url_mismatch", "url"),
    ({**chat("e", "x"), "custom_id": [1]}, "wrong_type", "custom_id"),
    (chat("good", "again"), "duplicate_custom_id", "custom_id"),
    (chat("f", "x", model="other"), "model_mismatch", "body.model"),
    ({**chat("g", "x"), "body": {"messages": []}}, "missing_field", "body.model"),
    (b'{"custom_id": "\xff"}', "invalid_json_line", None),
]


def test_every_bad_line_is_listed_with_its_number_and_nothing_runs(running: BatchUser) -> None:
    done = running.run(
        jsonl([chat("good", "one"), *(line for line, _, _ in BAD), chat("last", "fine")])
    )
    assert done.status == "failed" and done.failed_at
    assert done.errors and done.errors.object == "list" and done.errors.data
    found = [(error.line, error.code, error.param) for error in done.errors.data]
    assert found == [(line, code, param) for line, (_, code, param) in enumerate(BAD, start=2)]
    assert all(error.message for error in done.errors.data)
    assert (done.output_file_id, done.error_file_id) == (None, None)
    assert "line 1" in str(done.errors.data[7].message), "a repeated name says where it was first"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\n  \n\n", "empty_file"),
        (b"not json\n", "invalid_json_line"),
        (b'{"custom_id": "a"}', "missing_field"),
    ],
)
def test_a_file_without_one_good_line_says_why(
    running: BatchUser, content: bytes, code: str
) -> None:
    done = running.run(content)
    assert done.status == "failed" and done.errors and done.errors.data
    assert [error.code for error in done.errors.data] == [code]


def test_an_unknown_model_names_the_known_ones(running: BatchUser) -> None:
    done = running.run([chat("a", "x", model="gpt-9")])
    assert done.status == "failed" and done.errors and done.errors.data
    assert done.errors.data[0].code == "model_not_found" and "echo" in str(
        done.errors.data[0].message
    )


def test_a_hundred_bad_lines_are_told_and_no_more(running: BatchUser) -> None:
    done = running.run([chat("good", "one"), *(b"{" for _ in range(150))])
    assert done.errors and done.errors.data and len(done.errors.data) == 100


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "24"}, "completion_window"),
        ({"completion_window": "99999h"}, "completion_window"),
        ({"metadata": {f"k{i}": "v" for i in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 10}},
            "output_expires_after.seconds",
        ),
        ({"extra_body": {"webhook": {"url": "ftp://x"}}}, "webhook.url"),
        ({"extra_body": {"priorty": 3}}, "priorty"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_a_bad_request_at_once(
    running: BatchUser, wrong: dict, param: str
) -> None:
    options: dict[str, Any] = {
        "input_file_id": running.upload([chat("a", "x")]),
        "endpoint": CHAT,
        "completion_window": "24h",
    } | wrong
    with pytest.raises(openai.BadRequestError) as refused:
        running.client.batches.create(**options)
    assert str(refused.value.param).startswith(param), refused.value
