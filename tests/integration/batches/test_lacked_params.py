"""A worker whose engine lacks decoding parameters publishes so; what asks for them is refused by
name, and the rest runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.support.batches import BatchUser, chat, completion
from tests.support.lacking import LACKED, NEUTRAL
from tests.support.parts import WORKER

LACKING = tuple("tests.integration.worker.lacking" if w == "worker.app" else w for w in WORKER)


@pytest.fixture
def mill(make_mill: Callable[[], BatchUser]) -> BatchUser:
    made = make_mill()
    made.web(echo_delay=0)
    made.start(LACKING, said="serving echo")
    return made


def test_of_a_batch_only_the_lines_that_ask_for_it_fail(mill: BatchUser) -> None:
    shown: Any = mill.client.models.retrieve("echo")
    assert not LACKED.keys() & set(shown.card["params"]) and "top_p" in shown.card["params"]
    asked = [chat(name, "one two", **{name: value}) for name, value in LACKED.items()]
    done = mill.run([chat("fine", "one two", **NEUTRAL), *asked])
    assert done.request_counts
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 3)
    (row,) = mill.rows(done.output_file_id)
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "one two"
    found = {row["custom_id"]: row["response"] for row in mill.rows(done.error_file_id)}
    assert found.keys() == LACKED.keys()
    for name, answer in found.items():
        error = answer["body"]["error"]
        assert (answer["status_code"], error["code"], error["param"]) == (400, "unsupported", name)
        assert f"engine echo, which runs echo, has no {name}" in error["message"]
    scored = [completion("echoed", "one two", echo=True, logprobs=1)]
    done = mill.run(scored, endpoint="/v1/completions")
    (row,) = mill.rows(done.error_file_id)
    assert row["response"]["body"]["error"]["param"] == "logprobs"


def test_a_chat_is_refused_at_once(mill: BatchUser) -> None:
    ask: Any = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}
    with pytest.raises(openai.BadRequestError, match="has no typical_p") as refused:
        mill.client.chat.completions.create(**ask, extra_body={"typical_p": 0.9})
    assert (refused.value.param, refused.value.code) == ("typical_p", "unsupported")
    answer = mill.client.chat.completions.create(**ask, temperature=0, extra_body=NEUTRAL)
    assert answer.choices[0].message.content == "one two"
