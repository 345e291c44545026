"""Files of every format become items; whatever is wrong with one is told line by line."""

from __future__ import annotations

import io
import json
import resource
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet
from werkzeug.datastructures import FileStorage

from tests.support.web import Web

BOM = b"\xef\xbb\xbf"


def items_of(web: Web, name: str, content: bytes, **job: Any) -> list[dict]:
    """The stored items of an upload that is accepted; params leave out the max_tokens that made
    them fit."""
    answer = web.upload(name, content, **job)
    assert answer.status_code == 202, answer.text
    found = web.services.store.items(answer.json["id"], 0, 1000)
    for item in found:
        item.get("params", {}).pop("max_tokens", None)
        if not item.get("params"):
            item.pop("params", None)
    return found


def faults(
    web: Web, name: str, content: bytes, status: int = 422, **job: Any
) -> list[tuple[int | None, str]]:
    """(line, message) of everything wrong; nothing was left in Redis."""
    answer = web.upload(name, content, **job)
    assert answer.status_code == status, answer.text
    assert web.job_keys() == []
    return [(entry.get("line"), entry["message"]) for entry in answer.json["errors"]]


def table(**columns: list) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


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


def test_a_text_file_has_one_prompt_a_line(web: Web) -> None:
    assert items_of(web, "prompts.txt", BOM + "one\ntwo words\r\nüber".encode()) == [
        {"prompt": "one"},
        {"prompt": "two words"},
        {"prompt": "über"},
    ]


def test_undecodable_lines_of_text_are_listed(web: Web) -> None:
    assert [line for line, _ in faults(web, "prompts.txt", b"one\n\n\xff\ntwo\n\xfe")] == [3, 5]


def test_a_csv_has_a_prompt_column_ids_settings_and_metadata(web: Web) -> None:
    content = BOM + (
        b'custom_id,prompt,temperature,stop,team\r\nx,"line one\nline, '
        b'two",0.5,END,red\r\ny,z,,,blue\r\n'
    )
    assert items_of(web, "batch.csv", content) == [
        {
            "custom_id": "x",
            "prompt": "line one\nline, two",
            "params": {"temperature": 0.5, "stop": ["END"]},
            "metadata": {"team": "red"},
        },
        {"custom_id": "y", "prompt": "z", "metadata": {"team": "blue"}},
    ]


def test_the_prompt_column_may_have_another_name(web: Web) -> None:
    assert items_of(web, "batch.csv", b"question\na\n", prompt_column="question") == [
        {"prompt": "a"}
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"question,n\na,1\n",
            "name the prompts' column as prompt_column: the file has question, n",
        ),
        (b"prompt,max_new_tokens\na,1\n", "is called max_tokens here"),
        (b"prompt,temprature\na,1\n", "did you mean temperature?"),
        (b"prompt,prompt\na,b\n", "several columns"),
        (b"prompt," + b",".join(b"c%d" % i for i in range(17)) + b"\n", "at most 16"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(web: Web, content: bytes, says: str) -> None:
    ((_, message),) = faults(web, "batch.csv", content)
    assert says in message


def test_bad_csv_lines_are_listed_where_they_begin(web: Web) -> None:
    content = b'prompt,temperature\n"two\nlines",1\na\n\nb,hot\n,1\nc,-1\n'
    assert [line for line, _ in faults(web, "batch.csv", content)] == [4, 6, 7, 8]


@pytest.mark.parametrize(
    "content", [b'prompt\na\n"open\nb\n', b"prompt\na\nb\xff\n", b'prompt\na\n"x"y\n']
)
def test_reading_a_broken_csv_stops_with_the_line(web: Web, content: bytes) -> None:
    ((line, _),) = faults(web, "batch.csv", content)
    assert line == 3


def test_parquet_is_read_like_csv(web: Web) -> None:
    content = table(custom_id=[1, 2], prompt=["a", "b"], n=[2, None], team=["red", None])
    assert items_of(web, "batch.parquet", content) == [
        {"custom_id": "1", "prompt": "a", "params": {"n": 2}, "metadata": {"team": "red"}},
        {"custom_id": "2", "prompt": "b", "metadata": {"team": None}},
    ]


def test_bad_parquet_rows_are_listed(web: Web) -> None:
    found = faults(
        web, "batch.parquet", table(prompt=["a", None, ""], temperature=[1.0, 1.0, float("nan")])
    )
    assert {line for line, _ in found} == {2, 3}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_what_is_no_parquet_is_refused(web: Web, content: bytes) -> None:
    assert faults(web, "batch.parquet", content) == [(None, "this is not a Parquet file")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_an_empty_file_is_an_empty_job(web: Web, name: str) -> None:
    assert faults(web, name, b"") == [(None, "a job needs at least one item")]


def test_a_csv_of_only_a_header_is_an_empty_job(web: Web) -> None:
    assert faults(web, "a.csv", b"prompt\n") == [(None, "a job needs at least one item")]


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


# Files that cost much to read


def repeated(cell: str, rows: int, columns: int) -> bytes:
    """A table of some KB whose cells are all the same one."""
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([cell]))
    return table(**dict.fromkeys(["prompt", "a", "b", "c"][:columns], cells))


@pytest.mark.parametrize("columns", [1, 4])
def test_what_a_small_parquet_file_expands_to_is_bounded(web: Web, columns: int) -> None:
    content = repeated("x" * 5_000_000, 256, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = faults(web, "a.parquet", content)
    assert found[0][0] == 1 and ("longer than" in found[0][1] or "too much memory" in found[0][1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_a_parquet_row_that_would_fill_the_memory_is_refused(web: Web) -> None:
    flags = pa.Array.from_buffers(pa.bool_(), 30_000_000, [None, pa.py_buffer(bytes(3_750_000))])
    content = table(
        prompt=["a"], flags=pa.ListArray.from_arrays(pa.array([0, 30_000_000], pa.int32()), flags)
    )
    assert len(content) < 2**20
    ((line, message),) = faults(web, "a.parquet", content)
    assert line == 1 and "too much memory" in message


def test_rows_that_are_each_in_bounds_have_a_bound_together(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.intake.parquet.MOST_ROWS", 1000)
    # 50 bytes each as JSON.
    ((line, message),) = faults(web, "a.parquet", repeated("x" * 46, 64, 1))
    assert line == 22 and "split the file" in message


def test_a_table_of_too_many_columns_is_refused_before_it_is_read(web: Web) -> None:
    for name, content in (
        ("a.parquet", table(prompt=["a"], **{f"c{number}": [1] for number in range(2000)})),
        ("a.csv", b"prompt" + b"," * 500 + b"x" + b"," * 1600 + b"x\n"),
    ):
        ((_, message),) = faults(web, name, content)
        assert "1,000" in message
    ((line, message),) = faults(web, "a.csv", b"prompt\na\n" + b"," * 3_000_000 + b"\nb\n")
    assert line == 3 and "3,000,001 cells" in message


def test_a_parquet_type_that_is_nested_too_deeply_is_refused(web: Web) -> None:
    deep = pa.array([1])
    for _ in range(100):
        deep = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), deep)
    assert faults(web, "a.parquet", table(prompt=["a"], deep=deep)) == [
        (None, "this is not a Parquet file")
    ]


def test_a_csv_record_is_bounded_over_all_its_lines(web: Web) -> None:
    content = b"prompt\na\n" + b'"\n",' * 2_000_000 + b"\n"
    ((line, message),) = faults(web, "a.csv", content)
    assert line == 3 and "is a quote missing?" in message


def test_no_reader_of_a_parquet_file_outlives_its_request(web: Web) -> None:
    faults(web, "a.parquet", table(question=["a"] * 100_000))
    faults(web, "a.parquet", table(prompt=[""] * 100_000))
    assert not [
        child
        for child in psutil.Process().children()
        if "parquet_reader" in " ".join(child.cmdline())
    ]


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
