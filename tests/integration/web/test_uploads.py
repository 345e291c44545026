"""Files of every format become items; whatever is wrong with one is told line by line."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage

from tests.support.uploads import BOM, faults, items_of, table
from tests.support.web import Web


def test_each_part_comes_once_and_has_its_limit(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for parts in (
        {"file": FileStorage(io.BytesIO(b"a"), "a.txt"), "job": ["{}", '{"priority": 5}']},
        {"file": [FileStorage(io.BytesIO(b"a"), "a.txt"), FileStorage(io.BytesIO(b"b"), "b.txt")]},
        {"file": "not a file"},
    ):
        answer = web.post("/v1/jobs", data=parts, content_type="multipart/form-data")
        assert (answer.status_code, web.job_keys()) == (422, [])
    monkeypatch.setattr("web.wire.bodies.MOST_JSON", 1000)
    answer = web.upload("a.txt", b"a", metadata={"note": "x" * 2000})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert "part `job`" in answer.json["detail"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_jsonl_line_is_an_item(web: Web, end: bytes) -> None:
    content = (
        BOM
        + b'{"prompt": "a b", "custom_id": "x"}'
        + (end or b"\n")
        + '{"prompt": "ü"}'.encode()
        + end
    )
    assert items_of(web, "batch.jsonl", content) == [
        {"prompt": "a b", "custom_id": "x"},
        {"prompt": "ü"},
    ]


def test_every_bad_jsonl_line_is_listed_with_its_number(web: Web) -> None:
    lines = [
        b'{"prompt": "good", "custom_id": "x"}',
        b"",  # skipped
        b'{"prompt": "a"',
        b'{"prompt": "\xff"}',
        b'{"prompt": "a", "custom_id": "x"}',
        b'{"prompt": "a", "params": {"top_p": 0}}',
        b"[1]",
        b'{"prompt": "a", "prompt": "b"}',
        b"   ",  # skipped
    ]
    found = faults(web, "batch.jsonl", b"\n".join(lines))
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 8]
    assert "line 1" in found[2][1]


def test_the_job_part_holds_everything_but_items(web: Web) -> None:
    answer = web.upload("a.jsonl", b'{"prompt": "a"}\n', priority=3, params={"temperature": 0})
    assert (answer.json["priority"], answer.json["params"]) == (3, {"temperature": 0})


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_an_empty_file_is_an_empty_job(web: Web, name: str) -> None:
    assert faults(web, name, b"") == [(None, "the file is empty")]


@pytest.mark.parametrize("name", ["batch.pdf", "batch", "", "jsonl"])
def test_a_file_must_say_its_format(web: Web, name: str) -> None:
    answer = web.upload(name or " ", b"x")
    assert answer.status_code in (415, 422)
    assert "field" in answer.json["errors"][0]


def test_a_line_without_end_is_refused_before_it_fills_memory(web: Web) -> None:
    ((line, message),) = faults(
        web, "a.jsonl", b'{"prompt": "a"}\n{"prompt": "' + b"x" * (5 * 2**20)
    )
    assert line == 2
    assert "longer than" in message


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"job": "{}"}, "file"),
        ({"file": (b"{}", "a.jsonl"), "jobs": "{}"}, "jobs"),
        ({"file": (b"{}", "a.jsonl"), "job": "{}", "extra": (b"", "x")}, "extra"),
        ({"file": (b"{}", "a.jsonl"), "job": '{"promt_column": "x"}'}, "promt_column"),
        ({"file": (b"{}", "a.jsonl"), "job": '{"items": []}'}, "items"),
    ],
)
def test_parts_that_are_missing_or_unknown_are_refused(web: Web, parts: dict, field: str) -> None:
    data = {
        name: (io.BytesIO(part[0]), part[1]) if isinstance(part, tuple) else part
        for name, part in parts.items()
    }
    answer = web.post("/v1/jobs", data=data, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (b"{", "malformed_json"),
        (b'{"metadata": {"k": "\xff"}}', "malformed_form"),
        (b'{"priority": 1, "priority": 2}', "malformed_json"),
    ],
)
def test_a_job_part_that_is_no_json_is_a_400(web: Web, job: bytes, code: str) -> None:
    boundary = b"frontier"
    body = b"--%b\r\nContent-Disposition: form-data; name=job\r\n\r\n%b\r\n" % (boundary, job)
    body += (
        b"--%b\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\na\r\n--%b--\r\n"
        % (
            boundary,
            boundary,
        )
    )
    answer = web.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=frontier")
    assert (answer.status_code, answer.json["code"]) == (400, code)


def test_the_job_part_may_be_a_file_too(web: Web) -> None:
    data = {
        "file": (io.BytesIO(b"a\n"), "a.txt"),
        "job": (io.BytesIO(b'{"priority": 2}'), "job.json"),
    }
    assert web.post("/v1/jobs", data=data).json["priority"] == 2


def test_an_upload_over_the_limit_is_a_413(make_web: Any) -> None:
    web = make_web(max_upload_bytes=10_000)
    answer = web.upload("a.txt", b"word\n" * 3000)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert web.job_keys() == []


def test_a_check_of_an_upload_lists_lines(web: Web) -> None:
    answer = web.upload("a.jsonl", b'{"prompt": "a"}\n{}\n', path="/v1/jobs/check")
    assert answer.status_code == 200
    assert [(entry["line"], entry["field"]) for entry in answer.json["errors"]] == [(2, "prompt")]
    assert json.loads(answer.data)["items"] == 1


def test_a_large_honest_table_is_read(make_web: Any) -> None:
    web, texts = (
        make_web(max_items=200_000),
        [f"{'word ' * 60}{number}" for number in range(20_000)],
    )
    for name, content in (
        ("a.parquet", table(prompt=texts, custom_id=list(range(20_000)))),
        (
            "a.csv",
            b"custom_id,prompt\n"
            + b"".join(b'%d,"%b"\n' % (n, text.encode()) for n, text in enumerate(texts)),
        ),
    ):
        answer = web.upload(name, content, path="/v1/jobs/check")
        assert (answer.json["valid"], answer.json["items"]) == (True, 20_000)
