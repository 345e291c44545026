"""Draws the next token of each row from its logits: edits, the grammar's mask, log-probabilities,
random numbers and the sampler.

Log-probabilities are those before edits and mask. Changes no sequence, so that a step that fails
can be computed again.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.kernels.drawing import Draws
from worker.engine.kernels.library import Library
from worker.engine.logprobs import scores
from worker.engine.sampling.apply import apply_edits, apply_masks
from worker.engine.sampling.grammar import Constraint, allowed_tokens
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.sampler import likeliest, sample
from worker.engine.sampling.uniforms import uniforms
from worker.engine.scheduling.drawn import Drawn, Fault, Score
from worker.engine.scheduling.sequence import Sequence

SECOND = 1 << 31  # where the second random numbers of positions begin: no text is as long


def draw(
    sequences: list[Sequence], logits: torch.Tensor, library: Library | None = None
) -> list[Drawn]:
    """The next token of each sequence from `logits` (sequences, vocabulary), which it may write
    into. The compiled kernels of `library` draw, if it is given; the logits are a CPU's then."""
    constraints = [sequence.constraint for sequence in sequences]
    if all(sequence.is_plainly_greedy for sequence in sequences):
        return _drawn(sequences, *_most_likely(constraints, logits), {})
    if library:
        return _drawn(sequences, *_compiled(library, sequences, logits.float()))
    bound = allowed_tokens(constraints, logits.shape[1])  # while a GPU computes the logits
    return _drawn(sequences, *_by_torch(sequences, logits.float(), *bound))


def _most_likely(
    constraints: list[Constraint | None], logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each row: its next token, its largest logit, and the largest one among the tokens that may
    come next."""
    on_cpu = logits.device.type == "cpu"
    if not on_cpu:
        rows, words = allowed_tokens(constraints, logits.shape[1])  # while it computes the logits
    largest, tokens = likeliest(logits)
    best = largest.clone()
    if on_cpu:
        # Most rows may take the model's own choice, and to ask for one token takes far less than
        # to find all that are allowed.
        rest = [
            each if each and not each.allows(token) else None
            for each, token in zip(constraints, tokens.tolist(), strict=True)
        ]
        rows, words = allowed_tokens(rest, logits.shape[1])
    if rows:
        bound = logits[rows]
        apply_masks(bound, list(range(len(rows))), words)
        best[rows], tokens[rows] = likeliest(bound)
    return tokens, largest, best


def _by_torch(
    sequences: list[Sequence], logits: torch.Tensor, bound: list[int], words: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[int, Score]]:
    """What `_most_likely` returns, of rows of any kind, and the scores of those that ask for them.
    The rows `bound` may take the tokens of `words`."""
    counts = _alternatives(sequences)
    asked = to_device(np.array(list(counts), dtype=np.int64), logits.device)
    log_p = logits.index_select(0, asked).log_softmax(-1)
    largest = logits.amax(-1)
    apply_edits(logits, [sequence.edits for sequence in sequences])
    apply_masks(logits, bound, words)
    knobs = Knobs.of([sequence.request.params for sequence in sequences])
    tokens = sample(logits, knobs, _uniform(sequences)[0])
    best = logits.gather(1, tokens[:, None]).squeeze(1)
    if not counts:
        return tokens, largest, best, {}
    drawn = tokens.tolist()
    found = scores(log_p, [drawn[row] for row in counts], list(counts.values()))
    return tokens, largest, best, dict(zip(counts, found, strict=True))


def _compiled(
    library: Library, sequences: list[Sequence], logits: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, Score]]:
    """`_by_torch` by the compiled kernels.

    A row that drops no tokens is first drawn as if it had no grammar. Only if its grammar refuses
    the token, it is drawn among those that are allowed, by a second random number. The distribution
    is the same, and to ask for one token takes far less than to find all that are allowed.
    """
    draws = Draws(Knobs.of([sequence.request.params for sequence in sequences]), logits)
    for row, sequence in enumerate(sequences):
        if sequence.edits.any:
            draws.edit(row, sequence.edits)
    for row, count in _alternatives(sequences).items():
        draws.score(row, count)
    asked = [each.constraint if each.request.params.drops_nothing else None for each in sequences]
    bound = [
        None if later else each.constraint for later, each in zip(asked, sequences, strict=True)
    ]
    draws.allow(*allowed_tokens(bound, logits.shape[1]))
    first, second = _uniform(sequences)
    draws.run(library, first)
    refused = [
        each if each and not each.allows(token) else None
        for each, token in zip(asked, draws.tokens.tolist(), strict=True)
    ]
    rows, words = allowed_tokens(refused, logits.shape[1])
    if rows:
        draws.allow(rows, words)
        draws.run(library, second, rows)
    found = {
        row: Score(int(draws.tokens[row]), float(draws.logprobs[row]), likeliest.tolist())
        for row, likeliest in draws.likeliest.items()
    }
    return draws.tokens, draws.largest, draws.highest, found


def _alternatives(sequences: list[Sequence]) -> dict[int, int]:
    """The rows that ask for log-probabilities, with how many alternatives."""
    counts = {row: each.request.params.logprobs for row, each in enumerate(sequences)}
    return {row: count for row, count in counts.items() if count is not None}


def _uniform(sequences: list[Sequence]) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second random numbers of the rows' positions."""
    positions = [sequence.generated for sequence in sequences]
    first, second = uniforms(
        np.array([sequence.request.seed for sequence in sequences]),
        np.array([sequence.index for sequence in sequences]),
        np.array([positions, [SECOND + position for position in positions]]),
    )
    return first, second


def _drawn(
    sequences: list[Sequence],
    tokens: torch.Tensor | np.ndarray,
    largest: torch.Tensor | np.ndarray,
    best: torch.Tensor | np.ndarray,
    found: dict[int, Score],
) -> list[Drawn]:
    """Each row's token, or its fault. `largest` (rows,) are the rows' largest logits, and `best`
    those of the tokens that may come: minus infinity where none may."""
    drawn = []
    each = zip(sequences, tokens.tolist(), largest.tolist(), best.tolist(), strict=True)
    for row, (sequence, token, largest_logit, best_logit) in enumerate(each):
        fault: Fault | None = None
        if sequence.constraint and sequence.constraint.error:
            fault = "grammar_too_complex"
        elif not math.isfinite(largest_logit):
            fault = "not_finite"
        elif best_logit == -math.inf:
            fault = "no_token_left"
        drawn.append(Drawn(None if fault else token, found.get(row), fault))
    return drawn
