"""Engine vllm writes what our own engine writes, greedily, with every parameter that it honours."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tokenizers import THINK
from tests.unit.engine.guided import SCHEMA, grammar, thinks
from tests.vllm.running import EDITS, Pair, opened, request, run, tokens

pytestmark = pytest.mark.timeout(400)  # vLLM takes its time to start

TEXT = "hello world and all who are in it"


@pytest.fixture(scope="module")
def both(tiny_model: Path) -> Iterator[Pair]:
    with (
        opened(tiny_model, engine="vllm") as vllm,
        opened(tiny_model, engine="native", kernels="torch") as own,
    ):
        yield Pair(vllm, own)


@pytest.mark.parametrize("name", EDITS)
def test_greedy_texts_are_those_of_our_own_engine(both: Pair, name: str) -> None:
    made = [
        run(each.engine, *(request(both.ids(text), **EDITS[name]) for text in (TEXT, "The", "{")))
        for each in (both.vllm, both.own)
    ]
    for ours, theirs in zip(*made, strict=True):
        assert tokens(ours) == tokens(theirs)
        assert [each.text for each in ours.outputs] == [each.text for each in theirs.outputs]
        assert [each.finish_reason for each in ours.outputs] == [
            each.finish_reason for each in theirs.outputs
        ]


ACTS: dict[str, dict[str, Any]] = {
    name: given
    for name, given in EDITS.items()
    if name.startswith(("rep", "pres", "freq", "all", "bias", "stop", "end"))
}


@pytest.mark.parametrize("name", ACTS)
def test_each_edit_changes_a_greedy_text(both: Pair, name: str) -> None:
    plain = {"max_tokens": ACTS[name].get("max_tokens", 16)}
    without, changed = run(
        both.vllm.engine, request(both.ids(TEXT), **plain), request(both.ids(TEXT), **ACTS[name])
    )
    assert tokens(without) != tokens(changed)


def test_bad_words_are_not_written_as_any_of_their_spellings(both: Pair) -> None:
    (plain,) = run(both.vllm.engine, request(both.ids(TEXT), max_tokens=40))
    (words,) = tokens(plain)
    text = both.vllm.tokenizer
    # A word of one token, and one that takes two, both of which the plain text has.
    single = next(text.spell(each).text for each in words if text.spell(each).raw is None)
    double = next(
        spelled
        for pair in itertools.pairwise(words)
        if (spelled := "".join(text.spell(each).text for each in pair))
        and text.encode(spelled) == list(pair)
    )
    for bad in ([single], [double], [single, double]):
        asked = [request(both.ids(TEXT), max_tokens=40, bad_words=bad) for _ in range(2)]
        (made,), (own,) = run(both.vllm.engine, asked[0]), run(both.own.engine, asked[1])
        assert tokens(made) == tokens(own) != tokens(plain)


@pytest.mark.parametrize("alternatives", [0, 1, 20])
def test_log_probabilities_are_the_models_own(both: Pair, alternatives: int) -> None:
    """Before temperature, penalties and biases; the prompt's, too."""
    edits: dict[str, Any] = {"logit_bias": {7: 4}, "repetition_penalty": 1.4, "max_tokens": 9}
    wanted = {"logprobs": alternatives, "prompt_logprobs": alternatives, **edits}
    (made,), (own,) = (
        run(each.engine, request(both.ids(TEXT), **wanted)) for each in (both.vllm, both.own)
    )
    assert tokens(made) == tokens(own)
    for mine, theirs in (
        (made.outputs[0].logprobs, own.outputs[0].logprobs),
        (made.prompt_logprobs, own.prompt_logprobs),
    ):
        assert mine is not None and theirs is not None and len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert one.token == other.token
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [each for _, each in one.top] == [each for _, each in other.top]
            assert [value for value, _ in one.top] == pytest.approx(
                [value for value, _ in other.top], abs=1e-4
            )
    prompt = made.prompt_logprobs
    assert prompt is not None
    assert len(prompt) == len(both.ids(TEXT)) and prompt[0].logprob is None


def test_log_probabilities_of_drawn_tokens_are_those_of_the_logits(both: Pair) -> None:
    given: dict[str, Any] = {"temperature": 1.5, "logprobs": 2, "max_tokens": 8, "n": 2}
    (made,) = run(both.vllm.engine, request(both.ids(TEXT), **given))
    for output in made.outputs:
        assert output.logprobs is not None
        prompt = both.ids(TEXT) + output.token_ids
        (read,) = run(both.own.engine, request(prompt, prompt_logprobs=2, max_tokens=1))
        assert read.prompt_logprobs is not None
        for mine, theirs in zip(output.logprobs, read.prompt_logprobs[-8:], strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
            assert len(mine.top) == 2


def test_a_seed_gives_one_text_alone_and_in_company_and_each_continuation_its_own(
    both: Pair,
) -> None:
    def drawn(seed: int, n: int = 1) -> Any:
        return request(both.ids(TEXT), seed, temperature=1.0, n=n)

    (alone,) = run(both.vllm.engine, drawn(3))
    first, other, three, again = run(
        both.vllm.engine, drawn(3), drawn(4), drawn(3, n=3), drawn(2**63 - 1)
    )
    assert tokens(alone) == tokens(first)
    assert tokens(three)[0] == tokens(first)[0]
    assert len({tuple(each) for each in [*tokens(three), *tokens(other), *tokens(again)]}) == 5


@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 1},
        {"top_p": 1e-6},
        {"min_p": 1.0},
        {"temperature": 1e-4},
    ],
    ids=str,
)
def test_the_narrowest_filters_leave_the_likeliest_token(both: Pair, given: dict[str, Any]) -> None:
    greedy, drawn, free = run(
        both.vllm.engine,
        request(both.ids(TEXT)),
        request(both.ids(TEXT), **{"temperature": 2.0} | given),
        request(both.ids(TEXT), temperature=2.0),
    )
    assert tokens(greedy) == tokens(drawn) != tokens(free)


def test_a_filter_keeps_what_it_names(both: Pair) -> None:
    """Of 200 first tokens none is outside of the likeliest three, and each of these comes."""
    (read,) = run(both.vllm.engine, request(both.ids(TEXT), logprobs=3, max_tokens=1))
    assert read.outputs[0].logprobs is not None
    likeliest = {each.token_id for _, each in read.outputs[0].logprobs[0].top}
    wide: dict[str, Any] = {"temperature": 100.0, "max_tokens": 1, "n": 100}
    made = run(
        both.vllm.engine,
        request(both.ids(TEXT), 1, top_k=3, **wide),
        request(both.ids(TEXT), 2, top_k=3, **wide),
    )
    assert {each[0] for one in made for each in tokens(one)} == likeliest
    (hot,) = run(both.vllm.engine, request(both.ids(TEXT), 1, **wide))
    assert len({each[0] for each in tokens(hot)}) > 50, "100 is no limit to vLLM's temperature"


def test_what_is_not_honoured_is_not_on_the_card(both: Pair) -> None:
    assert both.vllm.card.params is not None and both.own.card.params is not None
    assert set(both.own.card.params) - set(both.vllm.card.params) == {
        "typical_p",
        "no_repeat_ngram_size",
    }
    (scored,) = run(both.vllm.engine, request(both.ids(TEXT), continuations=[[5], [6]]))
    assert scored.error is not None and scored.error[0] == "unsupported"


def test_the_card_says_what_computes(both: Pair) -> None:
    card = both.vllm.card
    assert (card.engine, card.device, card.dtype) == ("vllm", "cpu", "float32")
    assert card.kernels.startswith("vllm 0.32") and card.kernels.endswith(" cpu")
    assert not card.reproducible and card.quantization is None
    assert card.digest != both.own.card.digest
    assert (card.context, card.vocabulary) == (both.own.card.context, both.own.card.vocabulary)


FORMATS: dict[str, dict[str, Any]] = {
    "schema": SCHEMA,
    "json": {"json": True},
    "regex": {"regex": r"[a-c]{3,6}(x|yz)"},
    "choice": {"choice": ["yes", "no", "maybe"]},
    "grammar": {"grammar": 'start: "a" ("," start)?'},
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_bind_texts_as_on_our_own_engine(both: Pair, name: str) -> None:
    wanted: dict[str, Any] = {"grammar": grammar(**FORMATS[name]), "max_tokens": 120}
    made, own = (
        run(each.engine, *(request(both.ids(text), **wanted) for text in (TEXT, "{")))
        for each in (both.vllm, both.own)
    )
    assert [each.outputs for each in made] == [each.outputs for each in own]


@pytest.mark.parametrize("temperature", [1.0, 100.0])
def test_drawn_texts_of_a_schema_are_valid_and_end_by_themselves(
    both: Pair, temperature: float
) -> None:
    wanted: dict[str, Any] = {"grammar": grammar(**SCHEMA), "max_tokens": 300, "n": 8}
    made, free = run(
        both.vllm.engine,
        request(both.ids(TEXT), temperature=temperature, **wanted),
        request(both.ids(TEXT), temperature=temperature),
    )
    for output in made.outputs:
        assert output.finish_reason == "stop" and output.json_valid
        assert sorted(json.loads(output.text)) == ["age", "kind", "name"]
        assert output.token_ids[-1] not in both.vllm.tokenizer.eos_ids
    assert len({output.text for output in made.outputs}) > 1
    assert tokens(free)


@pytest.mark.parametrize("output", [None, SCHEMA], ids=["free", "schema"])
@pytest.mark.parametrize("span", [{}, {"max_tokens": 5}, {"open": True, "max_tokens": 0}], ids=str)
def test_thoughts_come_before_the_format(
    both: Pair, span: dict[str, Any], output: dict[str, Any] | None
) -> None:
    opens = both.vllm.tokenizer.added_id(THINK)
    wanted: dict[str, Any] = {
        "thinking": thinks(**span),
        "grammar": grammar(**output) if output else None,
        "logit_bias": {opens: 50} if not span.get("open") else {},
        "max_tokens": 200,
    }
    (made,), (own,) = (
        run(each.engine, request(both.ids(TEXT), **wanted)) for each in (both.vllm, both.own)
    )
    assert made.outputs == own.outputs
    if most := span.get("max_tokens"):
        assert made.outputs[0].reasoning_tokens == most + 2


def test_a_format_goes_on_from_a_checkpoint(both: Pair) -> None:
    wanted: dict[str, Any] = {
        "grammar": grammar(**SCHEMA),
        "thinking": thinks(open=True, max_tokens=4),
    }
    (whole,) = run(both.vllm.engine, request(both.ids(TEXT), max_tokens=200, **wanted))
    (ids,) = tokens(whole)
    again = run(
        both.vllm.engine,
        *(
            request(both.ids(TEXT), max_tokens=200, resume=[ids[:at]], **wanted)
            for at in (1, 4, 5, 9, len(ids))
        ),
    )
    assert [each.outputs for each in again] == [whole.outputs] * 5


def test_texts_that_cannot_go_on_end_alone_with_the_errors_of_our_own_engine(both: Pair) -> None:
    letters = [y for length in range(1, 5) for y in ("y" * length, " " + "y" * length)]
    none_left: dict[str, Any] = {
        "grammar": grammar(regex="a?yyyy"),
        "bad_words": letters,
        "logit_bias": {70: 5.0},
    }
    ambiguous: dict[str, Any] = {
        "grammar": grammar(grammar='start: e\ne: e e | "a"'),
        "logit_bias": {0: -100},
        "max_tokens": 200,
    }
    made = run(
        both.vllm.engine,
        request(both.ids(TEXT), **none_left),
        request(both.ids(TEXT), **ambiguous),
        request(both.ids(TEXT), grammar=grammar(choice=["yes"])),
    )
    own = run(both.own.engine, request(both.ids(TEXT), **none_left))
    assert [each.error and each.error[0] for each in made] == [
        "no_token_left",
        "grammar_too_complex",
        None,
    ]
    assert made[0].outputs == own[0].outputs
    assert made[1].outputs[0].text.startswith("aaa")
    assert made[2].outputs[0].text == "yes"
