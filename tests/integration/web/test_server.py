"""The web tier as it is deployed: gunicorn with gevent in a process of its own, over real
sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from cli.valkey import Valkey
from tests.support.web import Web
from tests.support.web_process import LIMIT, WebProcess


@pytest.fixture(scope="module")
def running(valkey: Valkey) -> Iterator[WebProcess]:
    """One server for all tests that leave it running; starting one takes a second."""
    server = WebProcess(valkey.url)
    yield server
    server.stop()


@pytest.fixture
def own_server(redis_url: str, web: Web) -> Iterator[WebProcess]:
    """A server for a test that stops it."""
    server = WebProcess(redis_url)
    server.use(web.key)
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_job_goes_through_a_real_server_and_comes_out_as_events(
    server: WebProcess, web: Web
) -> None:
    job = server.post("/v1/jobs", json={"prompts": ["a", "b"]}).json()
    assert job["links"]["self"] == f"{server.url}/v1/jobs/{job['id']}"
    threading.Timer(0.3, web.worker().run).start()
    with server.get(f"/v1/jobs/{job['id']}/events", stream=True) as stream:
        kinds = [line.decode()[7:] for line in stream.iter_lines() if line.startswith(b"event: ")]
    assert kinds.count("item.finished") == 2
    assert kinds[-1] == "job.finished"
    assert len(server.get(f"/v1/jobs/{job['id']}/results.jsonl").text.splitlines()) == 2


def test_an_address_may_have_so_many_bytes_and_no_more(server: WebProcess) -> None:
    assert server.get(f"/v1/jobs?after={'x' * 8100}").status_code == 404
    assert server.get(f"/v1/jobs?after={'x' * 8200}").status_code == 414


def test_waiting_clients_do_not_hold_up_the_others(server: WebProcess, web: Web) -> None:
    job = server.post("/v1/jobs", json={"prompts": ["a"]}).json()["id"]
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(requests_get, server, f"/v1/jobs/{job}?wait=30") for _ in range(40)]
        time.sleep(0.5)
        began = time.monotonic()
        assert server.get("/healthz").status_code == 200
        assert time.monotonic() - began < 1
        web.worker().run()
        assert {answer.result().json()["status"] for answer in waiting} == {"completed"}


def test_a_large_upload_does_not_hold_up_the_others(server: WebProcess) -> None:
    file = (b"word " * 90 + b"\n") * (LIMIT // 451 - 10)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(requests_upload, server, "/v1/jobs/check", file)
        waits = []
        while not upload.done():
            began = time.monotonic()
            assert server.get("/healthz").status_code == 200
            waits.append(time.monotonic() - began)
    assert upload.result().json()["valid"]
    # Nearly two hundred; with sockets looked at only after fifty chunks, a dozen.
    assert len(waits) > 40, waits


def requests_upload(server: WebProcess, path: str, file: bytes) -> requests.Response:
    """Over a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        headers = dict(server.session.headers)
        return session.post(
            server.url + path, files={"file": ("a.txt", file)}, headers=headers, timeout=60
        )


def requests_get(server: WebProcess, path: str) -> requests.Response:
    """Over a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(server.url + path, headers=dict(server.session.headers), timeout=60)


def test_stopping_ends_open_streams_and_leaves_quickly(own_server: WebProcess) -> None:
    job = own_server.post("/v1/jobs", json={"prompts": ["a"]}).json()["id"]
    with own_server.get(f"/v1/jobs/{job}/events", stream=True) as stream:
        lines = stream.iter_lines()
        next(lines)
        seconds, log = own_server.stop()
        assert seconds < 4
        assert b"event: job.finished" not in list(lines)
    assert own_server.process.returncode == 0
    assert [line for line in log if line["level"] != "info"] == []


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_an_upload_over_the_limit_is_refused_while_it_streams(
    server: WebProcess, web: Web, way: str
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    before = server.memory()
    peak = [before]

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(64):
            peak.append(server.memory())
            yield b"word\n" * 50_000  # 16 MB in all, five times the limit
        yield b"\r\n--x--\r\n"

    body = pieces() if way == "chunked" else b"".join(pieces())
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        answer = server.post("/v1/jobs", data=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    except requests.ConnectionError:
        # It hung up on what it would not read; some clients see only that.
        assert way == "chunked"
    assert max(*peak, server.memory()) - before < 30 * 2**20
    assert web.job_keys() == []
    assert server.get("/healthz").status_code == 200


FORM = b"action=submit&model=echo&prompts=one%0Atwo%0Athr"  # ee%0Afour
JOB = b'{"prompts": ["a"]}' + b" " * 20_000  # more than is read at once


@pytest.mark.parametrize(
    ("path", "kind", "part"),
    [("/", "application/x-www-form-urlencoded", FORM), ("/v1/jobs", "application/json", JOB)],
    ids=["form", "json"],
)
def test_a_body_that_breaks_off_is_no_shorter_one(
    server: WebProcess, web: Web, path: str, kind: str, part: bytes
) -> None:
    head = [
        f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {web.key}", ("Accept: "
        "application/json"),
        f"Content-Type: {kind}", f"Content-Length: {len(part) + 9}", "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall("\r\n".join(head).encode() + part)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"incomplete_body" in answer
    assert web.job_keys() == []


def test_a_json_body_has_a_limit_of_its_own(server: WebProcess) -> None:
    answer = server.post(
        "/v1/jobs",
        data=b'{"prompts": ["' + b"a" * LIMIT + b'"]}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


def test_each_request_is_logged_with_its_id(own_server: WebProcess) -> None:
    answer = own_server.get("/v1/jobs?limit=1")
    _, log = own_server.stop()
    (line,) = [line for line in log if line.get("request") == answer.headers["X-Request-Id"]]
    assert (line["message"], line["status"]) == ("GET /v1/jobs", 200)


def test_the_server_outlives_redis_being_away(server: WebProcess, web: Web) -> None:
    web.services.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    web.services.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert server.get("/v1/jobs").status_code == 200
