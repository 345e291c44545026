"""Labels drawn by their probabilities, on a tiny random model in float32."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from common.generation import Finished, NewToken, Request
from tests.unit.engine.scored import each_logprob, score
from tests.unit.engine.tiny import Letters, alone, build, mixed, prompts, run, running
from worker.engine.scheduling.scored import probabilities

ENDS = frozenset({2, 7})
# Alike in their first tokens, one the beginning of another, and one far from the others.
LABELS = ("ab", "a", "abc", "ad", "xyz")
PROMPT = [40, 41, 42, 43, 44]


@pytest.fixture(scope="module")
def model() -> Any:
    return build("llama")


def choose(id: str, ids: list[int], labels: tuple[str, ...] = LABELS, **params: Any) -> Request:
    output = {"choice": list(labels), "probabilities": True}
    texts = [Letters().encode(label) for label in labels]
    request = score(id, ids, texts, output=output, **params)
    request.seed = params.get("seed", 0)
    return request


def ask_all(model: Any, asked: list[Request], ends: frozenset[int] = ENDS) -> dict[str, Finished]:
    with running(model, detokenizer=Letters(ends)) as engine:
        found = run(engine, asked)
        assert engine.room() == engine.slots
    return found


def whole_logprobs(model: Any, ids: list[int], ends: frozenset[int] = ENDS) -> list[float]:
    """Of each label with its end, which is any end token: one plain pass for each of them."""
    found = []
    for label in LABELS:
        text = Letters().encode(label)
        with_ends = [sum(each_logprob(model, ids, [*text, end])) for end in ends]
        found.append(log_of_sum(with_ends))
    return found


def log_of_sum(logprobs: list[float]) -> float:
    return torch.tensor(logprobs, dtype=torch.float64).logsumexp(0).item()


@pytest.mark.parametrize("ends", [frozenset({2}), ENDS])
def test_probabilities_equal_those_of_whole_labels_with_their_ends(
    model: Any, ends: frozenset[int]
) -> None:
    asked = [choose(str(n), ids) for n, ids in enumerate(prompts(6))]
    found = ask_all(model, asked, ends)
    for request in asked:
        (output,) = found[request.id].outputs
        expected = whole_logprobs(model, request.prompt_ids, ends)
        choices = output.choices or []
        assert [each.text for each in choices] == list(LABELS)
        assert [each.logprob for each in choices] == pytest.approx(expected, abs=1e-3)
        shares = [each.probability for each in choices]
        assert shares == pytest.approx(probabilities(expected), abs=1e-3)
        assert sum(shares) == pytest.approx(1, abs=1e-9)


def test_choices_are_the_same_alone_and_in_company(model: Any) -> None:
    asked = [choose(str(n), ids, seed=n, n=3) for n, ids in enumerate(prompts(6))]
    together = [*asked, *(choose(f"{each.id} beside", each.prompt_ids) for each in asked)]
    for n, other in enumerate(mixed(6)):
        other.id = f"other {n}"
        together.insert(2 * n, other)
    found = ask_all(model, together)
    for request in asked:
        by_itself = ask_all(model, [request])[request.id]
        assert [each.text for each in found[request.id].outputs] == [
            each.text for each in by_itself.outputs
        ]
        for one, same in zip(
            found[request.id].outputs[0].choices or [],
            by_itself.outputs[0].choices or [],
            strict=True,
        ):
            assert one.probability == pytest.approx(same.probability, abs=1e-4)


def test_rows_beside_choices_are_what_they_are_alone(model: Any) -> None:
    others = mixed(6)
    expected = alone(model, others)
    with running(model) as engine:
        texts = [Letters().encode(label) for label in LABELS]
        asked = [score(f"s{n}", ids, texts) for n, ids in enumerate(prompts(6))]
        found = run(engine, [each for pair in zip(others, asked, strict=True) for each in pair])
    for request in others:
        assert found[request.id].outputs[0].token_ids == expected[request.id]


def test_greedy_takes_the_likeliest_label_with_its_end(model: Any) -> None:
    asked = [choose(str(n), ids, temperature=0.0, n=2) for n, ids in enumerate(prompts(8))]
    found = ask_all(model, asked)
    for request in asked:
        for output in found[request.id].outputs:
            best = max(output.choices or [], key=lambda each: each.probability)
            assert output.text == best.text and output.finish_reason == "stop"
            label, end = output.token_ids[:-1], output.token_ids[-1]
            assert label == Letters().encode(best.text) and end in ENDS


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_labels_are_drawn_by_their_probabilities_at_a_temperature(
    model: Any, temperature: float
) -> None:
    draws = 16
    asked = [
        choose(str(seed), PROMPT, temperature=temperature, n=100, seed=seed)
        for seed in range(draws)
    ]
    with running(model, detokenizer=Letters(ENDS), slots=128) as engine:
        found = run(engine, asked)
    counted = Counter(output.text for each in found.values() for output in each.outputs)
    logprobs = whole_logprobs(model, PROMPT)
    shares = probabilities([each / temperature for each in logprobs])
    for label, share in zip(LABELS, shares, strict=True):
        expected, total = share * draws * 100, draws * 100
        assert abs(counted[label] - expected) <= 5 * (total * share * (1 - share)) ** 0.5 + 1, label


def test_the_same_seed_draws_the_same_labels(model: Any) -> None:
    asked = [choose(f"{seed} {again}", PROMPT, n=8, seed=seed) for seed in (1, 2) for again in "ab"]
    found = {
        id: [output.text for output in each.outputs] for id, each in ask_all(model, asked).items()
    }
    assert found["1 a"] == found["1 b"] and found["2 a"] == found["2 b"]
    assert found["1 a"] != found["2 a"]


def test_a_choice_is_told_token_by_token_and_counts_all_labels(model: Any) -> None:
    told: list[NewToken] = []
    request = choose("a", PROMPT, n=2, logprobs=2, prompt_logprobs=0)
    request.on_token = told.append
    found = ask_all(model, [request])["a"]
    assert len(found.prompt_logprobs or []) == len(PROMPT)
    for index, output in enumerate(found.outputs):
        assert "".join(each.text for each in told if each.sequence == index) == output.text
        assert [each.token for each in told if each.sequence == index] == output.token_ids
        logprobs = output.logprobs or []
        assert [each.token.token_id for each in logprobs] == output.token_ids
        whole = next(each for each in output.choices or [] if each.text == output.text)
        assert sum(each.logprob or 0 for each in logprobs) == pytest.approx(whole.logprob)
    tokens = sum(len(label) + 1 for label in LABELS)
    assert (found.prompt_tokens, found.completion_tokens) == (len(PROMPT), tokens)


@pytest.mark.parametrize(
    ("ids", "ends", "params", "why"),
    [
        ([], ENDS, {}, "the prompt has no tokens"),
        (PROMPT, frozenset[int](), {}, "no end token"),
        (PROMPT, ENDS, {"max_tokens": 3}, "max_tokens is 3"),
        (PROMPT * 25, ENDS, {}, "maximum context length is 128"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    model: Any, ids: list[int], ends: frozenset[int], params: dict[str, Any], why: str
) -> None:
    found = ask_all(model, [choose("a", ids, **params)], ends)["a"]
    assert found.error and why in found.error[1]


def test_the_longest_label_with_its_end_may_take_all_of_max_tokens(model: Any) -> None:
    found = ask_all(model, [choose("a", [*PROMPT, *[5] * 119], max_tokens=4)])["a"]
    assert found.error is None and len(found.outputs[0].choices or []) == len(LABELS)
