"""Webhooks at the end of a batch, in an envelope that the official client accepts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import openai
import pytest

from tests.support.batches import BatchUser, chat
from tests.support.receiver import Call, Receiver
from tests.support.waiting import wait_until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture
def mill(make_mill: Callable[[], BatchUser]) -> BatchUser:
    made = make_mill()
    made.web()
    made.webhooks()
    return made


def unwrapped(mill: BatchUser, call: Call, secret: str) -> tuple[str, str]:
    """Type and batch of a delivery that the client accepts."""
    event = mill.client.webhooks.unwrap(call.body, call.headers, secret=secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        mill.client.webhooks.unwrap(call.body + b" ", call.headers, secret=secret)
    assert (
        event.object == "event"
        and event.id == call.headers["webhook-id"]
        and event.created_at > 1_700_000_000
    )
    return event.type, event.to_dict()["data"]["id"]  # type: ignore[index]


def test_every_end_of_a_batch_is_told_and_the_client_accepts_it(
    mill: BatchUser, receiver: Receiver
) -> None:
    mill.worker(echo_delay=0.05)
    named = {"extra_body": {"webhook": {"url": receiver.url, "secret": SECRET}}}
    ended = {
        "batch.completed": mill.run([chat("a", "x")], **named).id,
        "batch.failed": mill.run([b"{"], **named).id,
    }
    for end, wish in (
        ("batch.cancelled", lambda batch: mill.client.batches.cancel(batch.id)),
        (
            "batch.expired",
            lambda batch: mill.store.edit(
                f"job_0{batch.id[6:]}", "deadline", mill.store.now() + 200
            ),
        ),
    ):
        batch = mill.submit([chat("a", "x " * 2000)], **named)
        mill.wait(batch, "in_progress")
        wish(batch)
        ended[end] = mill.wait(batch).id
    found = dict(unwrapped(mill, call, SECRET) for call in receiver.wait_for(4))
    assert found == ended


def test_batches_that_name_nobody_are_told_to_the_tenants_url_with_the_tenants_secret(
    mill: BatchUser, receiver: Receiver
) -> None:
    mill.worker()
    mill.tenants.set_webhook_url("acme", receiver.url)
    done = mill.run([chat("a", "x")])
    (call,) = receiver.wait_for(1)
    assert unwrapped(mill, call, mill.tenants.webhook_secret("acme")) == (
        "batch.completed",
        done.id,
    )
    assert json.loads(call.body)["data"] == {"id": done.id}, (
        "as OpenAI has it: the id, and nothing else"
    )


def test_a_native_retry_of_a_batchs_job_is_told_as_a_job(
    mill: BatchUser, receiver: Receiver
) -> None:
    mill.worker(echo_fail_on="bomb")
    done = mill.run([chat("a", "bomb"), chat("b", "x", temperature=-1)],
                    extra_body={"webhook": {"url": receiver.url, "secret": SECRET}})  # fmt: skip
    receiver.wait_for(1)
    job = mill.client.post(f"/jobs/job_0{done.id[6:]}/retry", cast_to=object)
    assert isinstance(job, dict) and job["counts"]["total"] == 1, (
        "what was refused would be refused again"
    )
    events = [json.loads(call.body) for call in receiver.wait_for(2)]
    assert events[1]["type"] == "job.finished" and events[1]["data"]["id"] == job["id"]


def test_a_batch_shows_what_became_of_its_deliveries_on_its_job(
    mill: BatchUser, receiver: Receiver
) -> None:
    mill.worker()
    done = mill.run([chat("a", "x")], extra_body={"webhook": {"url": receiver.url}})
    receiver.wait_for(1)
    (hook,) = wait_until(
        lambda: [each for each in mill.store.hooks(f"job_0{done.id[6:]}") if each.tries]
    )
    assert (hook.type, hook.status, hook.tries[0].status_code) == (
        "batch.completed",
        "delivered",
        200,
    )
