"""Draws the next token of each row from its logits: edits, the grammar's mask, log-probabilities,
random numbers and the sampler.

Log-probabilities are those before edits and mask. Changes no sequence, so that a step that fails
can be computed again.
"""

from __future__ import annotations

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.logprobs import scores
from worker.engine.sampling.apply import apply_edits, apply_masks
from worker.engine.sampling.grammar import Constraint, allowed_tokens
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.sampler import likeliest, sample
from worker.engine.sampling.uniforms import uniforms
from worker.engine.scheduling.drawn import Drawn, Fault, Score
from worker.engine.scheduling.sequence import Sequence


def draw(sequences: list[Sequence], logits: torch.Tensor) -> list[Drawn]:
    """The next token of each sequence from `logits` (sequences, vocabulary), which it may write
    into."""
    constraints = [sequence.constraint for sequence in sequences]
    found: dict[int, Score] = {}
    if all(sequence.is_plainly_greedy for sequence in sequences):
        healthy, best, tokens = _most_likely(constraints, logits)
    else:
        rows, words = allowed_tokens(constraints, logits.shape[1])  # while a GPU computes logits
        logits = logits.float()
        asking = [
            row
            for row, sequence in enumerate(sequences)
            if sequence.request.params.logprobs is not None
        ]
        asked = to_device(np.array(asking, dtype=np.int64), logits.device)
        log_p = logits.index_select(0, asked).log_softmax(-1)
        healthy = logits.amax(-1).isfinite()
        apply_edits(logits, [sequence.edits for sequence in sequences])
        apply_masks(logits, rows, words)
        tokens = _sampled(sequences, logits)
        best = logits.gather(1, tokens[:, None]).squeeze(1)
        if asking:
            found = _scores(sequences, asking, log_p, tokens)
    return _drawn(sequences, tokens, found, healthy, best > -torch.inf)


def _most_likely(
    constraints: list[Constraint | None], logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each row: whether its largest logit is finite, the largest one among the tokens that may
    come next, and that token."""
    on_cpu = logits.device.type == "cpu"
    if not on_cpu:
        rows, words = allowed_tokens(constraints, logits.shape[1])  # while it computes the logits
    best, tokens = likeliest(logits)
    healthy = best.isfinite()
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
    return healthy, best, tokens


def _sampled(sequences: list[Sequence], logits: torch.Tensor) -> torch.Tensor:
    requests = [sequence.request for sequence in sequences]
    uniform = uniforms(
        np.array([request.seed for request in requests]),
        np.array([sequence.index for sequence in sequences]),
        np.array([sequence.generated for sequence in sequences]),
    )
    return sample(logits, Knobs.of([request.params for request in requests]), uniform)


def _scores(
    sequences: list[Sequence], asking: list[int], log_p: torch.Tensor, tokens: torch.Tensor
) -> dict[int, Score]:
    """The scores of the rows that ask for them, by row; `log_p` (asking, vocabulary)."""
    counts = [sequences[row].request.params.logprobs or 0 for row in asking]
    drawn = tokens.tolist()
    return dict(zip(asking, scores(log_p, [drawn[row] for row in asking], counts), strict=True))


def _drawn(
    sequences: list[Sequence],
    tokens: torch.Tensor,
    found: dict[int, Score],
    healthy: torch.Tensor,
    allowed: torch.Tensor,
) -> list[Drawn]:
    """Each row's token, or its fault. `healthy` and `allowed` (rows,): whether the model's logits
    are finite, and whether the token may come: a row without any such takes one that may not."""
    drawn = []
    each = zip(sequences, tokens.tolist(), healthy.tolist(), allowed.tolist(), strict=True)
    for row, (sequence, token, is_finite, may_come) in enumerate(each):
        fault: Fault | None = None
        if sequence.constraint and sequence.constraint.error:
            fault = "grammar_too_complex"
        elif not is_finite:
            fault = "not_finite"
        elif not may_come:
            fault = "no_token_left"
        drawn.append(Drawn(None if fault else token, found.get(row), fault))
    return drawn
