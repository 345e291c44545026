"""The sampler keeps the tokens that transformers' processors keep, and draws each as often as its
probability says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from common.params import SamplingParams
from worker.engine.kernels.drawing import Draws
from worker.engine.kernels.library import load
from worker.engine.sampling import row_by_row, together
from worker.engine.sampling.apply import apply_edits
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.uniforms import uniforms

DRAWS = 4096
VOCABULARY = 300  # more than one tile


def reference(
    logits: torch.Tensor, history: list[int], prompt_length: int, params: SamplingParams
) -> torch.Tensor:
    """The distribution (vocabulary,) that transformers' own processors make of `logits`
    (vocabulary,)."""
    edited = logits[None].clone()
    ids = torch.tensor([history])
    if params.logit_bias:
        edited = SequenceBiasLogitsProcessor(
            {(token,): bias for token, bias in params.logit_bias.items()}
        )(ids, edited)
    processors: list[Any] = []
    if params.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    edited = LogitsProcessorList(processors)(ids, edited)
    # As OpenAI defines them: transformers has no such penalties.
    for token in set(history[prompt_length:]):
        times = history[prompt_length:].count(token)
        edited[0, token] -= params.frequency_penalty * times + params.presence_penalty
    processors = []
    if params.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(params.no_repeat_ngram_size))
    if params.bad_words:
        processors.append(NoBadWordsLogitsProcessor([[int(word)] for word in params.bad_words]))
    processors.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        processors.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        processors.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        processors.append(MinPLogitsWarper(params.min_p))
    if params.typical_p < 1:
        processors.append(TypicalLogitsWarper(params.typical_p))
    return LogitsProcessorList(processors)(ids, edited)[0].softmax(-1)


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": 1.8},
    {"top_k": 5},
    {"top_k": 200},
    {"top_p": 0.5},
    {"top_p": 0.97, "temperature": 3.0},
    {"min_p": 0.2},
    {"min_p": 0.001, "temperature": 2.0},
    {"typical_p": 0.4},
    {"repetition_penalty": 1.7},
    {"presence_penalty": 1.5},
    {"frequency_penalty": -0.8},
    {"logit_bias": {7: 3.0, 8: -100.0}},
    {"no_repeat_ngram_size": 2},
    {"bad_words": ["11", "12"]},
    {"top_k": 40, "top_p": 0.8, "min_p": 0.02, "typical_p": 0.9, "temperature": 1.3},
    {
        "top_k": 150,
        "top_p": 0.9,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.3,
        "logit_bias": {3: 2.0},
    },
    {
        "top_p": 0.9,
        "min_p": 0.05,
        "no_repeat_ngram_size": 3,
        "presence_penalty": 0.4,
        "bad_words": ["4"],
    },
]


Sample = Callable[[torch.Tensor, Knobs, np.ndarray], Any]


def on_cpu(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> Any:
    return row_by_row.sample(logits, knobs, uniform)


def on_gpu(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> Any:
    return together.sample(logits, knobs, uniform).numpy()


def compiled(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> Any:
    library = load()
    assert library
    draws = Draws(knobs, logits)
    draws.run(library, uniform)
    return draws.tokens


WAYS: dict[str, tuple[Sample, dict[str, Any]]] = {
    "row by row, above cuts": (
        on_cpu,
        {"SMALL": 0, "TILE": 8, "CANDIDATES": 8, "SORTED": 4, "SUMMED": 16},
    ),
    "row by row, by sorting": (on_cpu, {}),
    "together, among candidates": (on_gpu, {}),
    "together, mostly by sorting": (on_gpu, {"CANDIDATES": (8,)}),
    "compiled": (compiled, {}),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sample:
    draw, constants = WAYS[request.param]
    if draw is compiled:
        request.getfixturevalue("library")
    for name, value in constants.items():
        monkeypatch.setattr(row_by_row if draw is on_cpu else together, name, value)
    return draw


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "combined in one batch"])
def test_distributions_match_transformers(batched: bool, way: Sample) -> None:
    torch.manual_seed(1)
    logits = torch.randn(VOCABULARY) * 2
    history = [5, 6, 7, 9, 11, 6, 7, 5, 5, 6]
    prompt_length = 4
    every = [SamplingParams(max_tokens=1, **settings) for settings in SETTINGS]
    batches = [every] if batched else [[params] for params in every]
    for batch in batches:
        drawn = np.zeros((len(batch), VOCABULARY))
        edits = []
        for params in batch:
            words = [[int(word)] for word in params.bad_words]
            edits.append(Edits(params, history[:prompt_length], frozenset(), words))
            for token in history[prompt_length:]:
                edits[-1].push(token)
        edited = logits.repeat(len(batch), 1)
        apply_edits(edited, edits)
        repeats = DRAWS // (8 if batched else 1)
        wide = edited.repeat(repeats, 1)
        count = np.arange(len(wide))
        uniform = uniforms(count // len(batch), count % len(batch), np.zeros_like(count))
        tokens = way(wide, Knobs.of(batch * repeats), uniform)
        np.add.at(drawn, (count % len(batch), tokens), 1)
        for params, counts in zip(batch, drawn, strict=True):
            expected = reference(logits, history, prompt_length, params).numpy() * repeats
            assert counts[expected == 0].sum() == 0, f"{params!r} drew what transformers drops"
            common = expected >= 5
            chi = ((counts - expected)[common] ** 2 / expected[common]).sum()
            freedom = max(1, common.sum() - 1)
            assert chi < freedom + 6 * np.sqrt(2 * freedom), (
                f"{params!r}: chi-squared {chi:.0f} for {freedom}"
            )


def test_cpus_and_gpus_draw_alike() -> None:
    """Sums are rounded differently, so a number at the border of two tokens may draw the other."""
    torch.manual_seed(2)
    params = [SamplingParams(**settings) for settings in SETTINGS] * 20
    logits = torch.randn(len(params), VOCABULARY) * 2
    rows = np.arange(len(params))
    drawn = [
        draw(logits.clone(), Knobs.of(params), uniforms(rows, rows, rows))
        for draw in (on_cpu, on_gpu)
    ]
    assert (drawn[0] == drawn[1]).mean() > 0.98


def test_temperature_zero_is_the_likeliest_token(way: Sample) -> None:
    torch.manual_seed(3)
    logits = torch.randn(4, VOCABULARY)
    params = [
        SamplingParams(temperature=0.0, top_k=3),
        SamplingParams(temperature=0.0),
        SamplingParams(),
        SamplingParams(top_k=1),
    ]
    found = way(logits, Knobs.of(params), np.full(4, 0.5, dtype=np.float32)).tolist()
    best = logits.argmax(-1).tolist()
    assert found[:2] == best[:2] and found[3] == best[3]


@pytest.mark.parametrize("u", [1e-9, 0.5, 1 - 2**-24])
def test_no_number_draws_what_was_dropped(u: float, way: Sample) -> None:
    logits = torch.full((3, VOCABULARY), -torch.inf)
    logits[:, 50] = 1.0
    params = [SamplingParams(), SamplingParams(top_p=0.5), SamplingParams(typical_p=0.5)]
    assert way(logits, Knobs.of(params), np.full(3, u, dtype=np.float32)).tolist() == [50] * 3


def test_random_numbers_are_uniform_and_a_function_of_seed_sequence_and_position() -> None:
    seeds, sequences, positions = (
        axis.ravel() for axis in np.meshgrid([1, 2, 2**62], range(8), range(2000))
    )
    numbers = uniforms(seeds, sequences, positions)
    assert numbers.min() > 0 and numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=64, range=(0, 1))
    expected = len(numbers) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 6 * np.sqrt(2 * 63)
    assert len(np.unique(numbers)) > 0.99 * len(numbers)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02
    assert uniforms(seeds[5:6], sequences[5:6], positions[5:6])[0] == numbers[5]


def test_the_numbers_never_change() -> None:
    """A new release must draw as the old one did, or a resumed item would change course."""
    found = uniforms(np.array([0, 1, 2**63 - 1]), np.array([0, 1, 2]), np.array([0, 5, 9]))
    assert found.tolist() == pytest.approx(KNOWN, abs=1e-9)


KNOWN = [0.5065344572067261, 0.5062470436096191, 0.5119637250900269]
