"""Requests that are sent again: when, how long, and that an answer is never half of one."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

import promptmill
from promptmill.transport import Transport, Upload

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, in seconds; none is really made."""
    pauses: list[float] = []
    # Not `time.sleep` itself: threads of the process that others began would sleep so, too.
    clock = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr("promptmill.transport.time", clock)
    return pauses


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn; its URL, and the requests that it got."""
    left, got = list(answers), list[dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got.append({"path": self.path, "body": body, "headers": dict(self.headers)})
            left.pop(0)(self)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", got
        finally:
            listening.shutdown()
            thread.join(10)


def says(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def breaks_off(part: bytes) -> Answer:
    """A chunked answer whose connection ends within it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.close_connection = True

    return answer


def problem(code: str, detail: str = "too much", **more: Any) -> bytes:
    return json.dumps({"code": code, "detail": detail, **more}).encode()


def test_a_busy_server_is_asked_again_when_it_says(slept: list[float]) -> None:
    busy = says(503, problem("unavailable"), Retry_After="7")
    full = says(429, problem("too_many_queued"), Retry_After="3")
    with server(busy, full, hangs_up, says(200, b'{"id": "job_1"}')) as (url, got):
        transport = Transport(url, "pm_x", patience=60)
        assert transport.call("POST", "/v1/jobs", key="k", json={}) == {"id": "job_1"}
    assert slept[:2] == [7, 3] and 0.3 < slept[2] < 5
    assert {request["headers"]["Idempotency-Key"] for request in got} == {"k"}


def test_what_does_not_pass_by_waiting_is_told_at_once(slept: list[float]) -> None:
    errors = [{"code": "missing_variable", "message": "no value", "field": "vars.a", "line": 3}]
    refused = says(422, problem("invalid_request", "1 problem", errors=errors))
    with server(says(429, problem("storage_full")), refused) as (url, _):
        transport = Transport(url, "pm_x", patience=60)
        with pytest.raises(promptmill.RequestRefused, match="too much") as full:
            transport.call("POST", "/v1/jobs")
        with pytest.raises(promptmill.RequestRefused, match=r"row 3, vars\.a: no value") as wrong:
            transport.call("POST", "/v1/jobs")
    assert (full.value.status, full.value.code) == (429, "storage_full")
    assert wrong.value.errors == errors
    assert slept == []


def test_the_patience_ends_and_a_server_never_seen_gets_little_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    fake = SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0])
    monkeypatch.setattr("promptmill.transport.time", fake)
    busy = says(503, problem("unavailable"), Retry_After="20")
    with server(says(200), *[busy] * 20) as (url, got):
        transport = Transport(url, "pm_x", patience=100)
        transport.call("GET", "/")
        with pytest.raises(promptmill.ServerUnreachable, match="is busy: too much"):
            transport.call("GET", "/")
    assert len(got) == 7 and clock[0] == 100  # once, then every 20 seconds
    with pytest.raises(promptmill.ServerUnreachable, match="no server answers"):
        Transport(url, "pm_x", patience=100).call("GET", "/")
    assert 100 < clock[0] <= 110


def test_a_download_that_breaks_off_is_read_again_and_each_row_comes_once(
    slept: list[float],
) -> None:
    rows = [json.dumps({"index": n}).encode() + b"\n" for n in range(4)]
    broken = breaks_off(rows[0] + rows[1] + rows[2][:5])
    whole = says(200, b"".join(rows))
    with server(broken, says(503, problem("unavailable")), whole) as (url, _):
        results = promptmill.Client(url, "pm_x").results("job_1")
        assert [row["index"] for row in results] == [0, 1, 2, 3]
    assert len(slept) == 2


def test_an_upload_is_the_same_each_time_it_is_sent(slept: list[float]) -> None:
    file = io.BytesIO(b"x" * 200_000 + b"\n")
    busy = says(503, problem("unavailable"))
    with server(busy, says(200, b"{}")) as (url, got):
        upload = Upload(b'{"a": 1}', file, 'r"ö\r\n.jsonl')
        Transport(url, "pm_x", patience=60).call("POST", "/v1/jobs", upload=upload)
    assert got[0]["body"] == got[1]["body"]
    assert got[0]["body"].count(b"x") == 200_000
    assert b'filename="r_?__.jsonl"\r\n' in got[0]["body"]
    assert "Transfer-Encoding" not in got[0]["headers"]


def test_a_fault_in_openais_shape_is_told_in_its_words(slept: list[float]) -> None:
    body = b'{"error": {"message": "the API key is not valid here", "code": "unauthorized"}}'
    with server(says(401, body)) as (url, _), pytest.raises(promptmill.RequestRefused) as refused:
        Transport(url, "pm_x", 1).call("GET", "/v1/models")
    assert str(refused.value) == "the API key is not valid here"
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")


@pytest.mark.parametrize("body", [b"<html>", b'{"detail": 7}', b"[]", b""])
def test_an_answer_of_something_else_is_no_traceback(body: bytes, slept: list[float]) -> None:
    with server(says(404, body), says(200, b"<html>")) as (url, _):
        transport = Transport(url, "pm_x", patience=1)
        with pytest.raises(promptmill.RequestRefused):
            transport.call("GET", "/")
        with pytest.raises(promptmill.PromptmillError, match="is it a promptmill server"):
            transport.call("GET", "/")


@pytest.mark.parametrize(
    "url", ["", "queue:8000", "http://", "http://box:x", "http://box?x", "http://a b", "ftp://box"]
)
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match="PROMPTMILL_URL="):
        Transport(url, "pm_x", patience=1)
