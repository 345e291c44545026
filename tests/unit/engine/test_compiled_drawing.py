"""The compiled kernels draw what torch and numpy draw: the same tokens are kept, each with its
share, and edits, masks and log-probabilities are the same."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from common.generation import Request
from common.params import SamplingParams
from common.structured.guidance import Guide
from tests.support.tokenizers import for_json
from tests.unit.engine.company import POOL, logits_of, sequences_of
from tests.unit.engine.guided import grammar
from worker.engine.draw import draw
from worker.engine.kernels.drawing import Draws
from worker.engine.kernels.library import Library
from worker.engine.kernels.trials import chances
from worker.engine.sampling import row_by_row
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.uniforms import uniforms
from worker.engine.scheduling.mailbox import Mailbox
from worker.engine.scheduling.open_requests import OpenRequests

CUTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.3},
    {"temperature": 40.0},
    {"top_k": 1},
    {"top_k": 20},
    {"top_k": 290},
    {"top_p": 0.1},
    {"top_p": 0.9},
    {"top_p": 0.9999},
    {"min_p": 0.01},
    {"min_p": 1.0},
    {"typical_p": 0.2},
    {"typical_p": 0.95},
    {"top_k": 50, "top_p": 0.8, "min_p": 0.02, "typical_p": 0.7, "temperature": 1.3},
]
DRAWS = 2000
SIZES = [1, 2, 15, 16, 17, 255, 256, 257, 5000]  # vocabularies, around vectors and tiles


def rows_of(vocabulary: int, count: int, *, ties: bool = False) -> torch.Tensor:
    rows = 2 * torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    return (rows * 4).round() / 4 if ties else rows


def run(
    library: Library, logits: torch.Tensor, params: list[SamplingParams], uniform: np.ndarray
) -> Draws:
    draws = Draws(Knobs.of(params), logits)
    draws.run(library, uniform)
    return draws


@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "many ties"])
@pytest.mark.parametrize("settings", CUTS, ids=str)
def test_each_kept_token_has_its_share_of_the_numbers(
    library: Library, settings: dict[str, Any], ties: bool
) -> None:
    for vocabulary in SIZES:
        (logits,) = rows_of(vocabulary, 1, ties=ties)
        params = SamplingParams(**settings)
        top_k = params.top_k if params.top_k < vocabulary else 0
        shares = chances(
            logits.double().numpy(),
            params.temperature,
            top_k,
            params.top_p,
            params.min_p,
            params.typical_p,
        )
        kept = np.flatnonzero(shares > 1e-5)
        begins = shares.cumsum() - shares
        for place in (0.02, 0.98):  # within each token's share
            uniform = begins[kept] + place * shares[kept]
            wide = logits.expand(len(kept), -1)
            found = run(library, wide.contiguous(), [params] * len(kept), uniform)
            assert found.tokens.tolist() == kept.tolist()


def test_numpy_draws_the_same_tokens(library: Library) -> None:
    """Sums are rounded differently, so a number at the border of two tokens may draw the other."""
    params = [SamplingParams(**settings) for settings in CUTS] * 30
    place = np.arange(len(params))
    for vocabulary in (300, 49_152):
        logits = rows_of(vocabulary, len(params))
        uniform = uniforms(place, place, place)
        expected = row_by_row.sample(logits.clone(), Knobs.of(params), uniform)
        assert (run(library, logits, params, uniform).tokens == expected).mean() > 0.99


@pytest.mark.parametrize("vocabulary", [1000, 49_152])
def test_whole_steps_are_those_of_torch(library: Library, vocabulary: int) -> None:
    sequences = sequences_of(random.Random(vocabulary), vocabulary)
    logits = logits_of(vocabulary)
    with torch.inference_mode():
        expected = draw(sequences, logits.clone())
        found = draw(sequences, logits, library)
    assert logits.equal(logits_of(vocabulary)), "the logits were written into"
    assert sum(bool(each.score) for each in expected) > POOL // 4
    for sequence, one, other in zip(sequences, found, expected, strict=True):
        # A row with a grammar may have been drawn by its second random number.
        if one.token != other.token and sequence.constraint:
            assert sequence.request.params.drops_nothing
            assert one.token and sequence.constraint.allows(one.token)
            continue
        assert (one.token, one.fault) == (other.token, other.fault)
        assert (one.score is None) == (other.score is None)
        if one.score and other.score:
            assert one.score.logprob == pytest.approx(other.score.logprob, abs=1e-4)
            assert [token for token, _ in one.score.top] == [token for token, _ in other.score.top]
            values = [[value for _, value in each.score.top] for each in (one, other) if each.score]
            assert values[0] == pytest.approx(values[1], abs=1e-4)


@pytest.mark.parametrize("vocabulary", [1000, 151_936])
def test_log_probabilities_are_exact_but_for_rounding(library: Library, vocabulary: int) -> None:
    logits = logits_of(vocabulary)
    draws = Draws(Knobs.of([SamplingParams()] * POOL), logits)
    for row in range(POOL):
        draws.score(row, 20)
    draws.run(library, np.full(POOL, 0.5))
    exact = logits.double().log_softmax(-1).numpy()
    for row, found in draws.likeliest.items():
        assert found["logprob"] == pytest.approx(exact[row][found["token"]], abs=2e-6)
    drawn = exact[np.arange(POOL), draws.tokens]
    assert draws.logprobs == pytest.approx(drawn, abs=2e-6)


@pytest.mark.parametrize("uniform", [1e-9, 0.5, 1 - 2**-25])
@pytest.mark.parametrize("settings", CUTS, ids=str)
def test_no_number_leaves_the_vocabulary(
    library: Library, settings: dict[str, Any], uniform: float
) -> None:
    for vocabulary in SIZES:
        flat = torch.zeros(1, vocabulary)
        peaked = torch.full((1, vocabulary), -torch.inf)
        peaked[0, vocabulary // 2] = 1e30
        rows = torch.cat([flat, peaked, rows_of(vocabulary, 6)])
        params = [SamplingParams(**settings)] * len(rows)
        tokens = run(library, rows, params, np.full(len(rows), uniform)).tokens
        assert (tokens >= 0).all() and (tokens < vocabulary).all()
        assert tokens[1] == vocabulary // 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_not_finite_is_told_and_changes_no_other_row(
    library: Library, temperature: float
) -> None:
    logits = rows_of(300, 6)
    params, uniform = [SamplingParams(temperature=temperature)] * 6, np.full(6, 0.5)
    right = run(library, logits, params, uniform).tokens.copy()
    logits[1, 299], logits[2, 7], logits[3] = torch.nan, torch.inf, -torch.inf
    found = run(library, logits, params, uniform)
    assert np.isfinite(found.largest).tolist() == [True, False, False, False, True, True]
    assert found.tokens[[0, 4, 5]].tolist() == right[[0, 4, 5]].tolist()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_without_any_token_left_is_told(library: Library, temperature: float) -> None:
    logits = rows_of(300, 2)
    params = SamplingParams(temperature=temperature)
    draws = Draws(Knobs.of([params] * 2), logits)
    draws.allow([1], np.zeros((1, 10), dtype=np.int32))
    draws.run(library, np.full(2, 0.5))
    assert np.isfinite(draws.largest).all()
    assert np.isfinite(draws.highest).tolist() == [True, False]


def test_tokens_beyond_the_vocabulary_are_refused(library: Library) -> None:
    logits = rows_of(300, 1)
    for settings in ({"logit_bias": {300: 1.0}}, {"bad_words": ["x"]}, {"presence_penalty": 1.0}):
        params = SamplingParams(**settings)
        edits = Edits(params, [], frozenset(), [[300]] if params.bad_words else [])
        edits.push(300)
        draws = Draws(Knobs.of([params]), logits)
        draws.edit(0, edits)
        with pytest.raises(IndexError, match="not in the model's vocabulary"):
            draws.run(library, np.full(1, 0.5))


def test_alternatives_are_at_most_the_vocabulary(library: Library) -> None:
    logits = torch.tensor([[1.0, 3.0, -torch.inf, 3.0]])
    draws = Draws(Knobs.of([SamplingParams(temperature=0.0)]), logits)
    draws.score(0, 20)
    draws.run(library, np.full(1, 0.5))
    assert draws.likeliest[0]["token"].tolist() == [1, 3, 0, 2]
    expected = logits.log_softmax(-1)[0, [1, 3, 0, 2]].tolist()
    assert draws.likeliest[0]["logprob"].tolist() == pytest.approx(expected)
    assert draws.logprobs[0] == draws.likeliest[0]["logprob"][0]


@pytest.mark.parametrize(
    "logits",
    [rows_of(8, 2).bfloat16(), rows_of(8, 3), rows_of(2, 8).t()],
    ids=["type", "rows", "layout"],
)
def test_other_logits_are_refused(logits: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="is needed"):
        Draws(Knobs.of([SamplingParams()] * 2), logits)


def test_only_the_rows_that_are_named_are_drawn_again(library: Library) -> None:
    logits = rows_of(300, 6)
    draws = Draws(Knobs.of([SamplingParams(temperature=5.0)] * 6), logits)
    draws.run(library, np.full(6, 0.2))
    first = draws.tokens.copy()
    draws.run(library, np.full(6, 0.9), [1, 4])
    assert (draws.tokens != first).tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.9}, {"logit_bias": {}}], ids=str)
def test_bound_rows_draw_what_is_allowed_as_often_as_it_is_likely(
    library: Library, settings: dict[str, Any]
) -> None:
    """Whether the grammar is asked about one token first or gives all that are allowed."""
    tokenizer = for_json()
    guide = Guide(tokenizer.dumps(), 400, tokenizer.eos_ids)
    books = OpenRequests(
        Mailbox(1), tokenizer, vocabulary=400, context=512, on_end=lambda _: None, guide=guide
    )
    allowed = [id for letter in "bcde" for id in tokenizer.encode(letter, special=False)]
    (logits,) = rows_of(400, 1)
    logits[allowed] = logits.topk(8).values[::2]  # so that about half are refused
    if "logit_bias" in settings:
        settings = {"logit_bias": {allowed[0]: 1.0}}
    sequences = []
    for seed in range(DRAWS):
        request = Request(str(seed), "", [7, 8], SamplingParams(temperature=1.5, **settings), seed)
        request.grammar = grammar(regex="[b-e]")
        books.grammars.prepare(request)
        sequences += books.open(request)
    with torch.inference_mode():
        drawn = draw(sequences, logits.repeat(DRAWS, 1), library)
    edited = logits.double().numpy()
    for token, bias in settings.get("logit_bias", {}).items():
        edited[token] += bias
    masked = np.full(400, -np.inf)
    masked[allowed] = edited[allowed]
    expected = DRAWS * chances(masked, 1.5, 0, settings.get("top_p", 1.0), 0, 1.0)
    counts = np.bincount([each.token or 0 for each in drawn], minlength=400)
    assert counts[expected == 0].sum() == 0
    common = expected > 0
    assert ((counts - expected)[common] ** 2 / expected[common]).sum() < 25
