"""No body stops the web tier for others: each is refused or read while another tenant is served, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cli.valkey import Valkey
from tests.field.pressed import Pressed, Sent

MB = 2**20
WAIT = 2.0  # seconds that another tenant's request may take on a loaded machine; alone it is below one
GROWTH = 300 * MB

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
    pressed.empty()
    yield
    pressed.empty()


REFUSED = {
    "empty messages": ("/v1/jobs", b'{"items":[{"messages":' + listed(b"{}", 5_000_000) + b"}]}", 413),
    "ids that are none": ("/v1/jobs", b'{"items":[{"prompt_ids":' + listed(b"-1", 5_000_000) + b"}]}", 413),
    "a million ids": ("/v1/jobs", b'{"items":[{"prompt_ids":' + listed(b"-1", 1_000_000) + b"}]}", 422),
    "keys": ("/v1/jobs", b"{" + b",".join(b'"k%d":1' % n for n in range(1_250_000)) + b"}", 413),
    "keys of a chat": ("/v1/chat/completions", b'{"model":"echo","messages":' + listed(b"{}", 5_000_000) + b"}", 413),
    "ids of a completion": ("/v1/completions", b'{"model":"echo","prompt":' + listed(b"1", 7_900_000) + b"}", 413),
    "empty items": ("/v1/jobs", b'{"items":' + listed(b"{}", 5_000_000) + b"}", 413),
    "stop strings": ("/v1/jobs", b'{"prompts":["a"],"params":{"stop":' + listed(b'""', 1_000_000) + b"}}", 413),
    "a batch's metadata": ("/v1/batches", b'{"metadata":{"a":' + listed(b"{}", 5_000_000) + b"}}", 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_that_holds_too_much_is_refused_while_others_are_served(pressed: Pressed, case: str):
    path, body, status = REFUSED[case]
    found = pressed.press(Sent(path, body), 4)
    assert {answer[0] for answer in found.answers} == {status}
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


ACCEPTED = {
    "short items": b'{"items":' + listed(b'{"prompt":"' + b"abc " * 95 + b'"}', 39_000) + b',"model":"echo"}',
    "ids": b'{"items":' + listed(b'{"prompt_ids":' + IDS + b"}", 2000) + b"}",
    "source code": b'{"prompts":' + listed(json.dumps("if (a[0]) { b: {c, [d]} }\n" * 200).encode(), 2400) + b"}",
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_body_as_large_that_is_right_is_taken(pressed: Pressed, case: str):
    found = pressed.press(Sent("/v1/jobs/check", ACCEPTED[case]))
    assert found.answers == [(200, "")]
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH


def test_a_completion_of_many_lists_of_ids_is_read(pressed: Pressed):
    """Nobody serves the model, which is found out behind all that is checked of a request."""
    body = b'{"model":"nobody","prompt":' + listed(IDS, 2048) + b"}"
    found = pressed.press(Sent("/v1/completions", body), 2)
    assert found.answers == [(404, "model_not_found")] * 2
    assert found.worst_wait < WAIT
    assert found.growth < GROWTH
