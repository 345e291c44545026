"""What holds for the echo engine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from common.generation import Finished, Request
from common.params import SamplingParams
from worker.echo import EchoEngine


def ask(prompt: str, *, id: str = "a", seed: int = 1, **params: Any) -> Request:
    return Request(id, prompt, list(range(len(prompt.split()))), SamplingParams(**params), seed)


@contextmanager
def running(**settings: Any) -> Iterator[EchoEngine]:
    engine = EchoEngine(**settings)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def collect(engine: EchoEngine, count: int) -> list[Finished]:
    finished: list[Finished] = []
    end = time.monotonic() + 10
    while len(finished) < count and time.monotonic() < end:
        finished += engine.collect(1.0)
    assert len(finished) == count
    return finished


def answer(request: Request, **settings: Any) -> Finished:
    with running(**settings) as engine:
        engine.submit(request)
        return collect(engine, 1)[0]


def test_a_prompt_shorter_than_max_tokens_is_said_once() -> None:
    output = answer(ask("one two three", temperature=0.0, max_tokens=10)).outputs[0]
    assert (output.text, output.finish_reason, output.token_count) == ("one two three", "stop", 3)


def test_ignore_eos_goes_round_to_max_tokens() -> None:
    output = answer(ask("one two three", temperature=0.0, max_tokens=5, ignore_eos=True)).outputs[0]
    assert (output.text, output.finish_reason, output.token_count) == (
        "one two three one two",
        "length",
        5,
    )


def test_a_stop_string_ends_the_text_and_is_not_part_of_it() -> None:
    output = answer(ask("one two three four", temperature=0.0, stop=["o th", "four"])).outputs[0]
    assert (output.text, output.finish_reason, output.token_count) == ("one tw", "stop", 3)


def test_seed_and_sequence_alone_decide_the_answer() -> None:
    prompt = " ".join(map(str, range(50)))
    first = answer(ask(prompt, n=4, seed=7)).outputs
    assert first == answer(ask(prompt, id="b", n=4, seed=7)).outputs
    assert len({output.text for output in first}) > 1


def test_cancel_hands_back_what_was_said_so_far() -> None:
    with running(delay=0.02) as engine:
        engine.submit(ask("a b c d e f g h " * 100, temperature=0.0, max_tokens=500))
        time.sleep(0.1)
        engine.cancel("a", "cancelled")
        output = collect(engine, 1)[0].outputs[0]
    assert output.finish_reason == "cancelled"
    assert 1 <= output.token_count == len(output.text.split()) < 500


def test_a_prompt_that_holds_fail_on_is_an_error_of_its_item_alone() -> None:
    with running(fail_on="boom") as engine:
        engine.submit(ask("this goes boom"))
        engine.submit(ask("this does not", id="b"))
        errors = {finished.id: finished.error for finished in collect(engine, 2)}
    assert errors["a"] and errors["a"][0] == "engine_error" and errors["b"] is None


def test_a_request_that_can_never_fit_comes_back_as_an_error() -> None:
    finished = answer(ask("one two", max_tokens=20), context=10)
    assert finished.error and finished.error[0] == "context_length_exceeded"


def test_no_more_sequences_run_than_there_are_slots() -> None:
    with running(slots=2, delay=0.02) as engine:
        began = time.monotonic()
        for number in range(4):
            engine.submit(ask("a b c d e", id=str(number)))
        assert engine.room() == 0
        collect(engine, 4)
        assert time.monotonic() - began >= 0.2  # two rounds of five words
        assert engine.room() == 2


def test_poke_wakes_a_waiting_collect() -> None:
    with running() as engine:
        engine.poke()
        began = time.monotonic()
        assert engine.collect(5.0) == []
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("module", ["worker.echo", "worker.models"])
def test_echo_never_reaches_torch(module: str) -> None:
    code = (
        f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
