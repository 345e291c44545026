"""From logits to next tokens: edits, log-probabilities, random numbers and the sampler, in their order."""

from __future__ import annotations

import numpy as np
import torch

from .logits import apply_edits
from .logprobs import Logprobs
from .sampler import Knobs, sample, uniforms
from .sequence import Sequence


def draw(sequences: list[Sequence], logits: torch.Tensor, logprobs: Logprobs) -> list[int | None]:
    """The next token of each sequence from `logits` (sequences, vocabulary), which it may write into.

    None where the model's logits are not finite.
    """
    if all(sequence.is_plainly_greedy for sequence in sequences):
        best, tokens = logits.max(-1)
        finite = best.isfinite().tolist()
        return [token if fine else None for token, fine in zip(tokens.tolist(), finite, strict=True)]
    logits = logits.float()
    raw = logprobs.keep(sequences, logits)
    healthy = logits.amax(-1).isfinite().tolist()
    apply_edits(logits, [sequence.edits for sequence in sequences])
    requests = [sequence.request for sequence in sequences]
    uniform = uniforms(
        np.array([request.seed for request in requests]),
        np.array([sequence.index for sequence in sequences]),
        np.array([sequence.generated for sequence in sequences]),
    )
    drawn = sample(logits, Knobs.of([request.params for request in requests]), uniform).tolist()
    logprobs.note(sequences, drawn, raw)
    return [token if fine else None for token, fine in zip(drawn, healthy, strict=True)]
