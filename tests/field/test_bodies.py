"""No body stops the web tier for others: each is refused or read while another tenant is served, in
bounded memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import pytest

from cli.valkey import Valkey
from tests.field.pressed import Pressed, Sent

MB = 2**20
# Seconds that another tenant's request may take on a loaded machine; alone it is below one.
WAIT = 2.0
GROWTH = 300 * MB

BORDER = "multipart/form-data; boundary=border"
URLENCODED = "application/x-www-form-urlencoded"
IDS = json.dumps(list(range(10_000, 11_200)), separators=(",", ":")).encode()


def listed(entry: bytes, count: int) -> bytes:
    return b"[" + (entry + b",") * (count - 1) + entry + b"]"


@pytest.fixture(scope="module")
def pressed(valkey: Valkey) -> Iterator[Pressed]:
    process = Pressed(valkey.url)
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def emptied(pressed: Pressed) -> Iterator[None]:
    yield
    pressed.empty()


REFUSED = {
    "empty messages": (
        "/v1/jobs",
        b'{"items":[{"messages":' + listed(b"{}", 5_000_000) + b"}]}",
        413,
    ),
    "ids that are none": (
        "/v1/jobs",
        b'{"items":[{"prompt_ids":' + listed(b"-1", 5_000_000) + b"}]}",
        413,
    ),
    "a million ids": (
        "/v1/jobs",
        b'{"items":[{"prompt_ids":' + listed(b"-1", 1_000_000) + b"}]}",
        422,
    ),
    "keys": ("/v1/jobs", b"{" + b",".join(b'"k%d":1' % n for n in range(1_250_000)) + b"}", 413),
    "keys of a chat": (
        "/v1/chat/completions",
        b'{"model":"echo","messages":' + listed(b"{}", 5_000_000) + b"}",
        413,
    ),
    "ids of a completion": (
        "/v1/completions",
        b'{"model":"echo","prompt":' + listed(b"1", 7_900_000) + b"}",
        413,
    ),
    "empty items": ("/v1/jobs", b'{"items":' + listed(b"{}", 1_000_000) + b"}", 413),
    "stop strings": ("/v1/batches", b'{"metadata":{"a":' + listed(b'""', 1_000_000) + b"}}", 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_that_holds_too_much_is_refused_while_others_are_served(
    pressed: Pressed, case: str
) -> None:
    path, body, status = REFUSED[case]
    found = pressed.press(Sent(path, body), 4)
    assert {answer[0] for answer in found.answers} == {status}
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


def form(*parts: tuple[bytes, bytes]) -> bytes:
    """Parts of a form, each as its Content-Disposition (and what follows it) and its content."""
    head = b"--border\r\nContent-Disposition: form-data; "
    return (
        b"".join(head + about + b"\r\n\r\n" + content + b"\r\n" for about, content in parts)
        + b"--border--\r\n"
    )


FILE = b'name="file"; filename="a.jsonl"'
LARGE_FORMS = {
    "a text box": ("/", BORDER, lambda: form((b'name="prompts"', b"a b\n" * 20 * MB)), {413}),
    "a part job": ("/v1/jobs", BORDER, lambda: form((b'name="job"', b"a b\n" * 20 * MB)), {413}),
    "a part job that is a file": (
        "/v1/jobs",
        BORDER,
        lambda: form((b'name="job"; filename="j"', b"a b\n" * 16 * MB), (FILE, b"{}")),
        {413},
    ),
    "headers of a part": (
        "/v1/files",
        BORDER,
        lambda: form((FILE + b"\r\na: b" * 12 * MB, b"{}")),
        {413},
    ),
    "short headers": ("/v1/files", BORDER, lambda: form((FILE + b"\na:" * 5 * MB, b"{}")), {413}),
    "one header": (
        "/v1/jobs",
        BORDER,
        lambda: form((FILE + b"\r\na: " + b"b" * 80 * MB, b"{}")),
        {413},
    ),
    "no boundary": ("/v1/files", BORDER, lambda: b"x" * 80 * MB, {400}),
    "many parts": ("/v1/jobs", BORDER, lambda: form(*[(b'name="job"', b"")] * 400_000), {413}),
    "urlencoded": ("/login", URLENCODED, lambda: b"a=b&" * 20 * MB, {413}),
    "urlencoded names": ("/login", URLENCODED, lambda: b"a=b&" * 200_000, {413}),
    "nobody's body": ("/v1/nothing", "text/plain", lambda: b"x" * 80 * MB, {404}),
    "a body over its limit": ("/v1/jobs", "application/json", lambda: b"[" * 80 * MB, {413}),
}


@pytest.mark.parametrize("case", LARGE_FORMS)
def test_a_form_out_of_bounds_is_refused_while_others_are_served(
    pressed: Pressed, case: str
) -> None:
    path, kind, body, statuses = LARGE_FORMS[case]
    found = pressed.press(Sent(path, body(), kind), 2)
    assert {answer[0] for answer in found.answers} <= statuses
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


@pytest.mark.parametrize("kind", ["application/json", BORDER], ids=["json", "form"])
def test_a_bomb_is_refused_while_others_are_served(pressed: Pressed, kind: str) -> None:
    packer = zlib.compressobj(1, wbits=31)
    body = packer.compress(form((FILE, b""))[:-20]) + b"".join(
        packer.compress(bytes(MB)) for _ in range(1000)
    )
    found = pressed.press(Sent("/v1/jobs", body, kind, {"Content-Encoding": "gzip"}), 4)
    assert {answer[0] for answer in found.answers} == {413}
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


def test_a_text_box_of_blank_lines_is_read_while_others_are_served(pressed: Pressed) -> None:
    fields = [
        (b'name="action"', b"check"),
        (b'name="prompts"', b"\n" * 8 * MB + b"one two" + b"\n" * 8 * 1000 * 1000),
    ]
    found = pressed.press(Sent("/", form(*fields), BORDER, {"Accept": "application/json"}), 2)
    assert {answer[0] for answer in found.answers} == {200}
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


def test_a_large_file_is_taken_while_others_are_served(pressed: Pressed) -> None:
    lines = (b'{"custom_id": "x", "body": "' + b"text " * 300 + b'"}\n') * (60 * MB // 1530)
    found = pressed.press(
        Sent("/v1/files", form((b'name="purpose"', b"batch"), (FILE, lines)), BORDER)
    )
    assert found.answers == [(200, "")]
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


ACCEPTED = {
    "short items": b'{"items":'
    + listed(b'{"prompt":"' + b"abc " * 95 + b'"}', 39_000)
    + b',"model":"echo"}',
    "ids": b'{"items":' + listed(b'{"prompt_ids":' + IDS + b"}", 2000) + b"}",
    "source code": b'{"prompts":'
    + listed(json.dumps("if (a[0]) { b: {c, [d]} }\n" * 200).encode(), 2400)
    + b"}",
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_body_as_large_that_is_right_is_taken(pressed: Pressed, case: str) -> None:
    found = pressed.press(Sent("/v1/jobs/check", ACCEPTED[case]))
    assert found.answers == [(200, "")]
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


def test_a_completion_of_many_lists_of_ids_is_read(pressed: Pressed) -> None:
    """Nobody serves the model, which is found out behind all that is checked of a request."""
    body = b'{"model":"nobody","prompt":' + listed(IDS, 2048) + b"}"
    found = pressed.press(Sent("/v1/completions", body), 2)
    assert found.answers == [(404, "model_not_found")] * 2
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH
