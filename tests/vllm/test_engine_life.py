"""How requests live and end on engine vllm: stops, cancellations, checkpoints, faults, and more
requests than slots."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from common.generation import NewToken, Request
from common.params import SamplingParams
from common.structured.grammar import Grammar
from tests.vllm.running import SLOTS, collected, opened, request, run, tokens
from worker.models import OpenedModel

if TYPE_CHECKING:
    from worker.engine.vllm.engine import VllmEngine  # imports vLLM, whose warnings are errors here

pytestmark = pytest.mark.timeout(400)  # vLLM takes its time to start

LONG: dict[str, Any] = {"max_tokens": 300, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[OpenedModel]:
    with opened(tiny_model, engine="vllm") as found:
        yield found


@pytest.fixture
def engine(model: OpenedModel) -> Iterator[VllmEngine]:
    """The engine, at which nothing is left open, here and at vLLM."""
    found = cast("VllmEngine", model.engine)
    yield found
    assert found.room() == SLOTS
    assert found._vllm.get_num_unfinished_requests() == 0
    assert found._guided._grammars == {}


@pytest.fixture(scope="module")
def prompt(model: OpenedModel) -> list[int]:
    return model.tokenizer.encode("hello world and all who are in it")


def test_a_stop_string_across_tokens_cuts_the_text_and_is_not_streamed(
    model: OpenedModel, engine: VllmEngine, prompt: list[int]
) -> None:
    (plain,) = run(engine, request(prompt, max_tokens=40))
    text, (ids,) = plain.outputs[0].text, tokens(plain)
    ends = [len("".join(model.tokenizer.spell(each).text for each in ids[:at])) for at in (7, 8)]
    stop = text[ends[0] - 1 : ends[0] + 1]  # the last character of a token and the next one's first
    assert ends[0] < ends[1] and text.find(stop) == ends[0] - 1, "choose another place"
    streamed: list[NewToken] = []
    stopped, beside = run(
        engine,
        request(prompt, max_tokens=40, stop=stop, on_token=streamed.append),
        request(prompt, max_tokens=40),
    )
    assert stopped.outputs[0].text == text[: ends[0] - 1]
    assert stopped.outputs[0].finish_reason == "stop"
    assert "".join(each.text for each in streamed) == stopped.outputs[0].text
    assert tokens(stopped) == [ids[: len(tokens(stopped)[0])]]
    assert tokens(beside) == [ids]


def test_a_special_token_as_a_stop_string_ends_the_text(
    engine: VllmEngine, prompt: list[int]
) -> None:
    given: dict[str, Any] = {"stop": "</s>", "ignore_eos": True, "logit_bias": {0: 100}}
    (made,) = run(engine, request(prompt, **given))
    assert (made.outputs[0].text, made.outputs[0].finish_reason) == ("", "stop")
    assert tokens(made) == [[0]]


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_what_is_cancelled_has_the_text_up_to_there(
    engine: VllmEngine, prompt: list[int], reason: Any
) -> None:
    whole, beside = request(prompt, **LONG), request(prompt, **LONG)
    (full,) = run(engine, whole)
    stopped = request(prompt, n=2, seed=5, **LONG)
    for each in (stopped, beside):
        engine.submit(each)
    while not any(map(len, engine.checkpoint([stopped.id]).get(stopped.id, []))):
        time.sleep(0.001)
    engine.cancel(stopped.id, reason)
    ended, other = collected(engine, (stopped, beside))
    assert [each.finish_reason for each in ended.outputs] == [reason] * 2
    assert all(0 < each.token_count < LONG["max_tokens"] for each in ended.outputs)
    for output in ended.outputs:
        assert output.token_ids == tokens(full)[0][: output.token_count]
    assert tokens(other) == tokens(full)


def test_a_cancellation_before_the_first_token_and_of_nothing(
    engine: VllmEngine, prompt: list[int]
) -> None:
    early = request(prompt, **LONG)
    engine.submit(early)
    engine.cancel(early.id, "cancelled")
    engine.cancel("nobody", "cancelled")
    (ended,) = collected(engine, (early,))
    assert ended.outputs[0].finish_reason == "cancelled"
    assert len(run(engine, request(prompt))) == 1


def test_more_requests_than_slots_are_each_what_they_are_alone(
    engine: VllmEngine, prompt: list[int]
) -> None:
    def asked() -> list[Request]:
        return [
            request(prompt[: 2 + n % 7], n, max_tokens=5 + 3 * n, temperature=n % 3, n=1 + n % 2)
            for n in range(3 * SLOTS)
        ]

    alone = [tokens(run(engine, each)[0]) for each in asked() if each.params.n == 1]
    together = run(engine, *asked())
    assert [tokens(each) for each in together if len(each.outputs) == 1] == alone
    assert {len(each.outputs) for each in together} == {1, 2}


def test_an_interactive_request_does_not_wait_for_those_before_it(
    engine: VllmEngine, prompt: list[int]
) -> None:
    waiting = [request(prompt, n, **LONG) for n in range(3 * SLOTS)]
    first = request(prompt, max_tokens=2, interactive=True)
    for each in (*waiting, first):
        engine.submit(each)
    ended: list[str] = []
    while len(ended) <= len(waiting):
        ended += [each.id for each in engine.collect(1)]
    assert ended.index(first.id) <= SLOTS


RESUMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "repetition": {"repetition_penalty": 1.4},
    "bias": {"logit_bias": {5: 3, 9: -100}},
    "min_tokens": {"min_tokens": 12, "stop_token_ids": list(range(100, 164))},
    "stop ids": {"stop_token_ids": list(range(100, 140)), "max_tokens": 60},
    "several": {"n": 2},
}


@pytest.mark.parametrize("at", [1, 5, 15, 16])
@pytest.mark.parametrize("name", RESUMED)
def test_greedy_requests_go_on_from_a_checkpoint(
    engine: VllmEngine, prompt: list[int], name: str, at: int
) -> None:
    given = RESUMED[name]
    assert engine.goes_on(SamplingParams.model_validate({"temperature": 0} | given))
    (whole,) = run(engine, request(prompt, **given))
    kept = [each[:at] for each in tokens(whole)]
    streamed: list[NewToken] = []
    (again,) = run(engine, request(prompt, resume=kept, on_token=streamed.append, **given))
    assert again.outputs == whole.outputs
    for index, output in enumerate(whole.outputs):
        told = [each.token for each in streamed if each.sequence == index]
        assert told == output.token_ids[at:], "what came before was told before"


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 1.0},
        {"temperature": 0, "presence_penalty": 1},
        {"temperature": 0, "frequency_penalty": -1},
        {"temperature": 0, "bad_words": ("ab",)},
    ],
    ids=str,
)
def test_other_requests_cannot_go_on_exactly_and_it_says_so(
    engine: VllmEngine, given: dict[str, Any]
) -> None:
    assert not engine.goes_on(SamplingParams(**given))


def test_what_goes_on_inexactly_keeps_the_tokens_of_its_checkpoint(
    engine: VllmEngine, prompt: list[int]
) -> None:
    kept = [[11, 12, 13], []]
    (made,) = run(engine, request(prompt, temperature=1.0, n=2, resume=kept))
    assert tokens(made)[0][:3] == kept[0]
    assert [len(each) for each in tokens(made)] == [16, 16]


def test_requests_that_can_never_run_fail_alone(engine: VllmEngine, prompt: list[int]) -> None:
    bad = {
        "context_length_exceeded": request(prompt, max_tokens=512),
        "invalid_request": request([*prompt, 384]),
        "unsupported": request(prompt, continuations=[[5]]),
        "invalid_grammar": request(
            prompt, grammar=Grammar('{"grammars": [{"lark_grammar": "start: nowhere"}]}')
        ),
    }
    empty = request([])
    good, *failed, nothing, also_good = run(
        engine, request(prompt), *bad.values(), empty, request(prompt)
    )
    assert [each.error and each.error[0] for each in failed] == list(bad)
    assert nothing.error and nothing.error[0] == "invalid_request"
    assert tokens(good) == tokens(also_good)


def test_prompt_log_probabilities_that_take_too_much_memory_are_refused_by_name(
    engine: VllmEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.vllm.engine.PROMPT_LOGITS", 384 * len(prompt))
    fits, refused, without = run(
        engine,
        request(prompt, prompt_logprobs=1),
        request([*prompt, 5], prompt_logprobs=1),
        request([*prompt, 5]),
    )
    assert refused.error and refused.error[0] == "unsupported"
    assert f"at most {len(prompt)} tokens" in refused.error[1]
    assert fits.prompt_logprobs and not without.error


def test_what_vllm_refuses_fails_one_request_with_all_its_continuations(
    engine: VllmEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    add = engine._vllm.add_request

    def second_refused(key: str, *rest: Any, **more: Any) -> Any:
        if key.endswith(" 1"):
            raise ValueError("a secret of another user")
        return add(key, *rest, **more)

    monkeypatch.setattr(engine._vllm, "add_request", second_refused)
    refused, good = run(engine, request(prompt, n=3), request(prompt))
    assert refused.error and refused.error[0] == "engine_error"
    assert "secret" not in refused.error[1]
    assert len(tokens(good)[0]) == 16


def test_what_cannot_be_taken_of_a_step_fails_one_request(
    engine: VllmEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a row with log-probabilities these are not what they should be."""
    monkeypatch.setattr("worker.engine.vllm.engine.score", lambda *_: [][0])
    broken, good = run(engine, request(prompt, n=2, logprobs=1), request(prompt))
    assert broken.error and broken.error[0] == "engine_error"
    assert len(tokens(good)[0]) == 16


def test_a_prompt_that_just_fits_and_a_step_that_was_timed(
    engine: VllmEngine, prompt: list[int]
) -> None:
    engine.step_times()
    (made,) = run(engine, request((prompt * 100)[:511], max_tokens=1))
    assert len(tokens(made)[0]) == 1
    assert engine.step_times() and engine.step_age() == 0.0


def test_a_step_that_fails_is_the_end_of_the_process(model: OpenedModel) -> None:
    """The last test: this engine computes no more."""
    engine = cast("VllmEngine", model.engine)

    def failing() -> None:
        raise RuntimeError("out of memory")

    engine._vllm.step = failing
    engine.submit(request([5, 6, 7]))
    until = time.monotonic() + 20
    while engine.step_age() != math.inf:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert engine.collect(0) == []
