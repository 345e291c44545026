"""The receiver accepts only events with a valid signature."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import requests

from cli.listen import BODY_LIMIT, Receiver
from common.signing import sign

SECRET = "whsec_" + "c2VjcmV0" * 4
BODY = json.dumps({"id": "evt_1", "type": "job.finished", "data": {"id": "job_1"}}).encode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(SECRET)
    receiver.start()
    yield receiver
    receiver.stop()


def post(receiver: Receiver, body: bytes, headers: dict[str, str]) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"http://{receiver.address}/hook", data=body, headers=headers, timeout=5
        ).status_code


def test_a_signed_event_is_told_once_however_often_it_comes(receiver: Receiver) -> None:
    headers = sign(SECRET, "evt_1", int(time.time()), BODY)
    assert post(receiver, BODY, headers) == 204
    assert post(receiver, BODY, headers) == 204
    assert receiver.events.get(timeout=1)["type"] == "job.finished"
    assert receiver.events.empty()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(BODY + b" ", sign(SECRET, "evt_1", int(time.time()), BODY), id="changed"),
        pytest.param(BODY, {}, id="unsigned"),
        pytest.param(
            BODY,
            sign("whsec_" + "b3RoZXJz" * 4, "evt_1", int(time.time()), BODY),
            id="another secret",
        ),
        pytest.param(BODY, sign(SECRET, "evt_1", int(time.time()) - 3600, BODY), id="too old"),
    ],
)
def test_what_is_not_signed_with_the_secret_is_refused(
    receiver: Receiver, body: bytes, headers: dict[str, str]
) -> None:
    assert post(receiver, body, headers) == 401
    assert receiver.events.empty()
    assert receiver.refused.get(timeout=1)


def test_a_body_over_the_limit_is_refused_unread(receiver: Receiver) -> None:
    assert post(receiver, b"", {"Content-Length": str(BODY_LIMIT + 1)}) == 413
