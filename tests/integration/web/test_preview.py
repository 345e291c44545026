"""A preview shows the first rows as the model would read them; a bad row is one of them."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web
from web.intake import preview as preview_rows
from web.intake import uploads

TEXT = {"template": {"prompt": "Say {{text}}"}, "params": {"max_tokens": 5}}


def preview(web: Web, rows: int = 3, **body: Any) -> dict[str, Any]:
    answer = web.post(f"/v1/jobs/preview?rows={rows}", json={**TEXT, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_a_row_has_its_text_its_count_and_what_was_changed(web: Web) -> None:
    item = {"custom_id": "a", "vars": {"text": "<b>one</b>  two three four"}}
    found = preview(web, items=[item], clean=["html", "whitespace"], truncate={"to": 3})
    assert found == {
        "model": "echo",
        "columns": ["text"],
        "rows": [
            {
                "line": None, "custom_id": "a", "text": "Say one two three", "prompt_tokens": 4,
                "cleaned": {"text": ["html", "whitespace"]}, "truncated_tokens": 1, "errors": [],
            }
        ],
    }  # fmt: skip


def test_a_bad_row_is_an_entry_and_no_error_of_the_request(web: Web) -> None:
    items: list[Any] = [
        {"vars": {"text": "a"}},
        {"custom_id": "x", "vars": {}},
        7,
        {"vars": {"text": "w " * 200}},
        {"vars": {"text": "a"}, "params": {"top_p": 7}},
        {"custom_id": "x", "vars": {"text": "a"}},
    ]
    rows = preview(web, 20, items=items)["rows"]
    found = [[(error["code"], error["field"]) for error in row["errors"]] for row in rows]
    assert found == [
        [],
        [("missing_variable", "items.1.vars.text")],
        [("wrong_type", "items.2")],
        [("context_length_exceeded", "items.3.vars")],
        [("out_of_range", "items.4.params.top_p")],
        [("duplicate_custom_id", "items.5.custom_id")],
    ]
    assert [row["custom_id"] for row in rows] == [None, "x", None, None, None, "x"]
    assert rows[3]["text"].startswith("Say w w") and rows[3]["prompt_tokens"] == 201


def test_a_table_shows_its_columns_and_the_lines_of_its_rows(web: Web) -> None:
    table = '"",text,id\n0,"two\nlines",7\n1,,8\n2,=1+1,9\n3,last,10\n'.encode("utf-16")
    job = {**TEXT, "columns": {"custom_id": "id"}}
    answer = web.upload("t.csv", table, "/v1/jobs/preview?rows=3", **job)
    assert answer.status_code == 200, answer.text
    assert answer.json["columns"] == ["", "text", "id"]
    rows = answer.json["rows"]
    assert [(row["line"], row["custom_id"], row["text"]) for row in rows] == [
        (2, "7", "Say two\nlines"), (4, "8", None), (5, "9", "Say =1+1"),
    ]  # fmt: skip
    assert [error["line"] for error in rows[1]["errors"]] == [4]


def test_a_file_is_read_no_further_than_needed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    class Counted(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            nonlocal read
            line = super().readline(size)
            read += len(line)
            return line

        def read(self, size: int | None = -1) -> bytes:
            nonlocal read
            piece = super().read(size)
            read += len(piece)
            return piece

    whole = uploads.read_items_file

    def watched(file: io.BufferedIOBase, *args: Any, **options: Any) -> Any:
        return whole(Counted(file.read()), *args, **options)

    monkeypatch.setattr("web.wire.bodies.read_items_file", watched)
    table = b"id,text\n" + b"1,some text\n" * 500_000
    answer = web.upload("t.csv", table, "/v1/jobs/preview", **TEXT)
    assert len(answer.json["rows"]) == 3
    assert 0 < read < 500_000, "of six million bytes"


def test_nothing_is_written(web: Web) -> None:
    preview(web, items=[{"vars": {"text": "a"}}])
    assert web.job_keys() == []


def test_what_is_wrong_with_the_job_itself_is_refused(web: Web) -> None:
    items = [{"vars": {"text": "a"}}]
    for body, code in (
        ({"template": {"prompt": "{{"}}, "invalid_template"),
        ({"model": "unknown"}, "model_not_found"),
        ({"preset": "unknown", "template": None}, "preset_not_found"),
        ({"params": {"top_p": 7}}, "out_of_range"),
    ):
        answer = web.post("/v1/jobs/preview", json={**TEXT, "items": items, **body})
        assert answer.json["code"] == code, answer.text


@pytest.mark.parametrize("rows", [0, 21, "x", ""])
def test_at_most_twenty_rows_are_shown(web: Web, rows: object) -> None:
    answer = web.post(f"/v1/jobs/preview?rows={rows}", json={"prompts": ["a"] * 30})
    assert answer.status_code == 422 and answer.json["errors"][0]["field"] == "rows"
    shown = web.post("/v1/jobs/preview?rows=20", json={"prompts": ["a"] * 30}).json["rows"]
    assert len(shown) == 20
    assert len(web.post("/v1/jobs/preview", json={"prompts": ["a"] * 30}).json["rows"]) == 3


def test_jobs_without_a_template_are_shown_too(web: Web) -> None:
    web.services.fleet.publish(card(chat_template="<{{ messages[0].content }}>"), b"")
    chat = [{"role": "user", "content": "hi"}]
    items: list[Any] = [{"prompt": "a b"}, {"messages": chat}, {"prompt_ids": [1, 2, 3]}]
    rows = preview(web, template=None, items=items)["rows"]
    assert [(row["text"], row["prompt_tokens"]) for row in rows] == [
        ("a b", 2), ("<hi>", 1), ("1 2 3", 3),
    ]  # fmt: skip


def test_only_the_worker_counts_where_no_tokenizer_was_published(web: Web) -> None:
    web.services.fleet.publish(card("blind", tokenizer="none"), b"")
    (row,) = preview(web, model="blind", items=[{"vars": {"text": "a"}}])["rows"]
    assert (row["text"], row["prompt_tokens"], row["errors"]) == ("Say a", None, [])


def test_a_long_text_that_does_not_fit_is_left_out(web: Web) -> None:
    (row,) = preview(web, items=[{"vars": {"text": "w " * 100_000}}])["rows"]
    assert row["text"] is None and row["errors"][0]["code"] == "context_length_exceeded"


def test_few_rows_are_cleaned_at_once_and_tenants_take_turns(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [web.services.api_keys.create_key(name) for name in ("a", "b", "c")]
    real, lock = preview_rows._row, threading.Lock()
    at_it, most = 0, 0

    def slow(*given: Any) -> Any:
        nonlocal at_it, most
        with lock:
            at_it += 1
            most = max(most, at_it)
        time.sleep(0.02)
        with lock:
            at_it -= 1
        return real(*given)

    monkeypatch.setattr(preview_rows, "_row", slow)

    def ask(key: str) -> int:
        body = {**TEXT, "items": [{"vars": {"text": "one"}}] * 3}
        client = web.app.test_client()
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post("/v1/jobs/preview", json=body, headers=headers)
        assert len(answer.json["rows"]) == 3 if answer.json else False
        return answer.status_code

    with ThreadPoolExecutor(9) as pool:
        assert set(pool.map(ask, keys * 3)) == {200}
    assert most == 2
