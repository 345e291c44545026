"""A request's decoding parameters as vLLM takes them, and what vLLM drew as ours.

vLLM writes no text and looks for no stop strings here: our own books do. It ends a sequence at the
tokens that end it here, and at `max_tokens`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from worker.engine.scheduling.drawn import Score, Scores
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Detokenizer, spellings


def vllm_params(sequence: Sequence, detokenizer: Detokenizer, guided: str | None) -> SamplingParams:
    """What vLLM is to do for a sequence from where it is; `guided` is the key of what binds it.

    Raises:
        ValueError: vLLM refuses a value.
    """
    params, done = sequence.request.params, sequence.generated
    left = params.max_tokens - done
    first = sequence.index == 0
    ends = detokenizer.eos_ids | sequence.stop_ids
    made = SamplingParams(
        temperature=0.0 if params.is_greedy else 1.0,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        seed=None if params.is_greedy else own_seed(sequence.request.seed, sequence.index),
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        logit_bias=dict(params.logit_bias) or None,
        min_tokens=min(max(params.min_tokens - done, 0), left),
        max_tokens=left,
        # The model's end tokens are among these; so vLLM's own idea of them plays no part.
        stop_token_ids=sorted(sequence.stop_ids if params.ignore_eos else ends),
        ignore_eos=True,
        logprobs=params.logprobs,
        prompt_logprobs=params.prompt_logprobs if first else None,
        structured_outputs=StructuredOutputsParams(choice=[guided]) if guided else None,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        skip_clone=True,
    )
    if not params.is_greedy:
        made.temperature = params.temperature  # vLLM's own limits are 0.01 and 2
    # What may not come before `min_tokens`, and tokens of bad words, as our own engine has them.
    made._all_stop_token_ids = set(ends)
    made._bad_words_token_ids = [
        ids for word in params.bad_words for ids in spellings(detokenizer, word)
    ] or None
    return made


def own_seed(seed: int, index: int) -> int:
    """The seed of continuation number `index`: the first has the request's own."""
    if index == 0:
        return seed
    found = hashlib.blake2b(f"{seed} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(found) >> 1


def score(token: int, found: dict[int, Any], alternatives: int) -> Score:
    """The log-probability of a token that was drawn, and the likeliest ones in its place: the
    lowest id first among equals."""
    return Score(token, found[token].logprob, _likeliest(found, alternatives))


def prompt_scores(
    prompt: list[int], found: Iterable[dict[int, Any] | None], alternatives: int
) -> list[tuple[int, Scores]]:
    """For each place in a prompt what vLLM found about the token behind it."""
    return [
        (place - 1, Scores([token], [each[token].logprob], _likeliest(each, alternatives)))
        for place, (token, each) in enumerate(zip(prompt, found, strict=False))
        if each is not None
    ]


def _likeliest(found: dict[int, Any], count: int) -> list[tuple[int, float]]:
    every = sorted((-each.logprob, token) for token, each in found.items())
    return [(token, -negative) for negative, token in every[:count]]
