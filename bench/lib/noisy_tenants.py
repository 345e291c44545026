"""How long a tenant waits while another holds thousands of connections, batches or webhooks.

Part of `make stall`.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from bench.lib.background import in_background
from bench.lib.stack import Stack

SLOW_BODIES = 4000
SLOW_FOR = 20.0  # seconds
SLOW_PAUSE = 2.0  # seconds between two bytes of one body
STREAMS = 2000
CHATS = 20
BATCHES = 60
LINES = 60_000  # of the file of batches: about 13 MiB
SILENT = 200
LIMIT = 240.0  # seconds
BOUNDARY = "promptmill-crowd"


def health_beside_slow_bodies(stack: Stack, _: str) -> float:
    """Longest of a health check, in seconds; 60 more where it failed."""
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{stack.port}\r\nContent-Type: "
        "application/x-www-form-urlencoded\r\n"
    )
    sockets = _opened(stack.port, SLOW_BODIES, f"{head}Content-Length: 10000\r\n\r\na".encode())

    def trickle(ended: threading.Event) -> None:
        while not ended.wait(SLOW_PAUSE):
            for each in sockets:
                _try_send(each, b"a")

    try:
        with in_background(trickle):
            return _longest(stack, "/healthz", SLOW_FOR)
    finally:
        for each in sockets:
            each.close()


def chats_beside_streams(stack: Stack, other: str) -> float:
    """Longest of the other tenant's chats, in seconds."""
    job = stack.submit(json.dumps({"model": "echo", "prompts": ["a b c"] * 10}).encode())
    stack.request("POST", f"/v1/jobs/{job}/pause")
    asked = (
        f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1:{stack.port}\r\nAuthorization: "
        f"Bearer {stack.key}\r\n\r\n"
    )
    sockets = _opened(stack.port, STREAMS, asked.encode())
    body = json.dumps(
        {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    ).encode()
    worst = 0.0
    try:
        for _ in range(CHATS):
            began = time.monotonic()
            status, _ = ask(stack, "POST", "/v1/chat/completions", other, body)
            worst = max(worst, time.monotonic() - began + (60.0 if status != 200 else 0.0))
    finally:
        for each in sockets:
            each.close()
    return worst


def validating_beside_batches(stack: Stack, other: str) -> float:
    """Seconds from creating the other tenant's batch of one line until it is validated."""
    large, small = _upload(stack, stack.key, LINES), _upload(stack, other, 1)
    for _ in range(BATCHES):
        ask(stack, "POST", "/v1/batches", stack.key, _batch(large))
    began = time.monotonic()
    _, batch = ask(stack, "POST", "/v1/batches", other, _batch(small))
    while batch["status"] == "validating" and time.monotonic() - began < LIMIT:
        time.sleep(0.02)
        _, batch = ask(stack, "GET", f"/v1/batches/{batch['id']}", other)
    return time.monotonic() - began


def delivery_beside_silence(stack: Stack, other: str) -> float:
    """Seconds from submitting the other tenant's job of one item until its webhook is here."""
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    silent = [socket.create_server(("127.0.0.1", 0), backlog=8) for _ in range(SILENT)]
    receiver = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        jobs = [stack.submit(_hooked(each.getsockname()[1])) for each in silent]
        for job in jobs:
            stack.wait(job)
        began = time.monotonic()
        ask(stack, "POST", "/v1/jobs", other, _hooked(receiver.server_port))
        arrived.wait(LIMIT)
        return time.monotonic() - began
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
        for each in silent:
            each.close()


def _hooked(port: int) -> bytes:
    webhook = {"url": f"http://127.0.0.1:{port}/hook"}
    return json.dumps(
        {"model": "echo", "prompts": ["a b"], "webhook": webhook, "params": {"max_tokens": 1}}
    ).encode()


def _batch(file_id: str) -> bytes:
    wanted = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return json.dumps(wanted).encode()


def _upload(stack: Stack, key: str, lines: int) -> str:
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": "one two three"}],
        "max_tokens": 4,
    }
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    content = "\n".join(
        json.dumps({"custom_id": f"request-{number}", **line}) for number in range(lines)
    )
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
        'filename="batch.jsonl"\r\n\r\n'
    )
    form = f"{head}{content}\r\n--{BOUNDARY}--\r\n".encode()
    _, answer = ask(
        stack, "POST", "/v1/files", key, form, f"multipart/form-data; boundary={BOUNDARY}"
    )
    return str(answer["id"])


def ask(
    stack: Stack,
    method: str,
    path: str,
    key: str,
    body: bytes | None = None,
    media_type: str = "application/json",
) -> tuple[int, Any]:
    """Status and JSON, over a new connection; 0 where the server hung up."""
    connection = stack.connect()
    try:
        connection.request(
            method, path, body, {"Authorization": f"Bearer {key}", "Content-Type": media_type}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except OSError:
        return 0, None
    finally:
        connection.close()


def _longest(stack: Stack, path: str, seconds: float) -> float:
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        status, _ = ask(stack, "GET", path, stack.key)
        worst = max(worst, time.monotonic() - began + (60.0 if status != 200 else 0.0))
        time.sleep(0.05)
    return worst


def _opened(port: int, count: int, first: bytes) -> list[socket.socket]:
    """Connections that sent `first`, as many as the server takes; none waits longer than a second
    for it."""
    found = []
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
            selector.register(each, selectors.EVENT_WRITE)
            found.append(each)
        end = time.monotonic() + 10
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(1.0):
                selector.unregister(key.fileobj)
                _try_send(key.fileobj, first)
    return found


def _try_send(to: Any, content: bytes) -> None:
    with suppress(OSError):  # the server does not take it any more, which is what it is to do
        to.send(content)
