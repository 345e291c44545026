"""Signatures: the scheme's own library, and its published test vector, agree with ours."""

from __future__ import annotations

import base64
import json
import time

import pytest
from standardwebhooks import Webhook

from common.errors import InvalidRequest, Unauthorized
from common.signing import check_secret, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1","data":{"text":"naïve ☃"}}'.encode()


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


def test_the_published_example_signs_as_published() -> None:
    headers = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_what_is_signed_verifies_with_the_schemes_own_library() -> None:
    assert Webhook(SECRET).verify(
        BODY, sign(SECRET, "evt_1", int(time.time()), BODY)
    ) == json.loads(BODY)


def test_what_is_signed_verifies_here() -> None:
    assert verify(SECRET, sign(SECRET, "evt_1", int(time.time()), BODY), BODY) == json.loads(BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "1", "v1,====", "nonsense"])
def test_a_changed_or_missing_header_is_refused(name: str, value: str | None) -> None:
    headers = sign(SECRET, "evt_1", int(time.time()), BODY)
    headers = {key: held for key, held in headers.items() if key != name} | (
        {name: value} if value is not None else {}
    )
    with pytest.raises(Unauthorized) as refusal:
        verify(SECRET, headers, BODY)
    assert refusal.value.code == "invalid_signature"


def test_a_changed_body_is_refused() -> None:
    headers = sign(SECRET, "evt_1", int(time.time()), BODY)
    for body in (BODY + b" ", b"\xff"):
        with pytest.raises(Unauthorized):
            verify(SECRET, headers, body)


@pytest.mark.parametrize("age", [301, -301])
def test_a_timestamp_five_minutes_off_is_refused(age: int) -> None:
    with pytest.raises(Unauthorized, match="timestamp"):
        verify(SECRET, sign(SECRET, "evt_1", int(time.time()) - age, BODY), BODY)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_of_24_to_64_bytes_is_taken(size: int) -> None:
    assert check_secret(whsec(size)) == whsec(size)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        whsec(23),
        whsec(65),
        whsec(32)[6:],
        "whsec_" + "a b" * 20,
        "whsec_naïve" + "a" * 40,
        "hunter2",
    ],
)
def test_anything_else_is_no_secret(secret: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_secret(secret)
    assert refusal.value.field == "webhook.secret"
    with pytest.raises(InvalidRequest):
        sign(secret, "evt_1", 0, BODY)
