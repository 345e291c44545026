"""Where a text ends, and with what its request comes back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.unit.engine.tiny import (
    VOCABULARY,
    Letters,
    alone,
    ask,
    build,
    collect,
    mixed,
    run,
    running,
    tokens,
)

A = ord("a") - 10


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


def test_a_stop_string_across_tokens_ends_the_text_and_never_shows(model: Any) -> None:
    with running(model) as engine:
        plain = run(engine, [ask("a", [30, 31], temperature=0.0, max_tokens=30)])["a"].outputs[0]
        stop = plain.text[4:7]
        cut = plain.text.index(stop)
        streamed: list[str] = []
        request = ask("b", [30, 31], temperature=0.0, max_tokens=30, stop=[stop])
        request.on_token = lambda new: streamed.append(new.text)
        found = run(engine, [request])["b"].outputs[0]
    assert (found.text, found.finish_reason) == (plain.text[:cut], "stop")
    assert "".join(streamed) == found.text
    assert found.token_ids == plain.token_ids[: found.token_count]


def test_streamed_text_is_the_final_text(model: Any) -> None:
    streamed: dict[str, str] = {}
    requests = mixed(8)
    for request in requests:
        request.params = request.params.model_copy(update={"stop": ("qqq", "zzzz", "no such")})
        request.on_token = lambda new, id=request.id: streamed.update(
            {id: streamed.get(id, "") + new.text}
        )
    with running(model) as engine:
        found = run(engine, requests)
    assert streamed == {id: each.outputs[0].text for id, each in found.items()}


def test_end_tokens_stop_unless_ignored_or_too_early(model: Any) -> None:
    plain = alone(model, [ask("a", [30, 31], temperature=0.0, max_tokens=20)])["a"]
    end = plain[5]
    first = plain.index(end)
    with running(model, detokenizer=Letters(frozenset({end}))) as engine:
        found = run(
            engine,
            [
                ask("stops", [30, 31], temperature=0.0, max_tokens=20),
                ask("ignores", [30, 31], temperature=0.0, max_tokens=20, ignore_eos=True),
                ask("late", [30, 31], temperature=0.0, max_tokens=20, min_tokens=first + 3),
            ],
        )
    with running(model) as engine:
        by_id = run(
            engine, [ask("by id", [30, 31], temperature=0.0, max_tokens=20, stop_token_ids=[end])]
        )["by id"]
    assert tokens(found["stops"]) == plain[: first + 1] == tokens(by_id)
    assert found["stops"].outputs[0].finish_reason == by_id.outputs[0].finish_reason == "stop"
    assert tokens(found["ignores"]) == plain
    assert end not in tokens(found["late"])[: first + 3]


def test_bad_words_never_come(model: Any) -> None:
    plain = alone(model, [ask("a", [30, 31], temperature=0.0, max_tokens=20)])["a"]
    word = "".join(chr(token + A) for token in plain[3:5])
    with running(model) as engine:
        found = run(engine, [ask("a", [30, 31], temperature=0.0, max_tokens=20, bad_words=[word])])[
            "a"
        ].outputs[0]
    assert word not in found.text


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_cancel_hands_back_the_partial_text(model: Any, reason: Any) -> None:
    stepped = threading.Event()
    request = ask("a", [5, 6], max_tokens=120, temperature=0.0, ignore_eos=True)
    with running(model) as engine:

        def cancel(*_: Any) -> None:
            stepped.set()
            engine.cancel("a", reason)

        request.on_token = cancel
        engine.submit(request)
        assert stepped.wait(20)
        output = collect(engine, 1)["a"].outputs[0]
        assert engine.room() == engine.slots
    assert output.finish_reason == reason and 1 <= output.token_count < 120


def test_requests_that_can_never_run_come_back_as_errors(model: Any) -> None:
    with running(model, context=64) as engine:
        found = run(
            engine,
            [
                ask("long", [5] * 60, max_tokens=5),
                ask("empty", [], max_tokens=4),
                ask("strange", [VOCABULARY], max_tokens=4),
                ask("fits", [5] * 60, max_tokens=4),
            ],
        )
    codes = {id: each.error and each.error[0] for id, each in found.items()}
    assert codes == {
        "long": "context_length_exceeded",
        "empty": "invalid_request",
        "strange": "invalid_request",
        "fits": None,
    }


def test_a_special_token_named_in_stop_ends_the_text(model: Any) -> None:
    with running(model) as engine:
        asked: dict[str, Any] = {"temperature": 0.0, "max_tokens": 20, "logit_bias": {4: 100.0}}
        found = run(
            engine,
            [
                ask("stops", [30, 31], stop=["<4>"], **asked),
                ask("ignores ends", [30, 31], stop=["<4>"], ignore_eos=True, **asked),
                ask("late", [30, 31], stop=["<4>"], min_tokens=5, **asked),
                ask("goes on", [30, 31], **asked),
            ],
        )
    ends = {id: (each.outputs[0].finish_reason, len(tokens(each))) for id, each in found.items()}
    assert ends == {
        "stops": ("stop", 1),
        "ignores ends": ("stop", 1),
        "late": ("stop", 6),
        "goes on": ("length", 20),
    }
