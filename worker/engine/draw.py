"""Draws the next token of each row from its logits: edits, log-probabilities, random numbers and
the sampler, in this order.

Changes no sequence, so that a step that fails can be computed again.
"""

from __future__ import annotations

import numpy as np
import torch

from worker.engine.logprobs import scores
from worker.engine.sampling.apply import apply_edits
from worker.engine.sampling.sampler import Knobs, sample
from worker.engine.sampling.uniforms import uniforms
from worker.engine.scheduling.drawn import Drawn, Score
from worker.engine.scheduling.sequence import Sequence


def draw(sequences: list[Sequence], logits: torch.Tensor) -> list[Drawn]:
    """The next token of each sequence from `logits` (sequences, vocabulary), which it may write
    into."""
    if all(sequence.is_plainly_greedy for sequence in sequences):
        best, tokens = logits.max(-1)
        finite = best.isfinite().tolist()
        return [
            Drawn(token if fine else None)
            for token, fine in zip(tokens.tolist(), finite, strict=True)
        ]
    logits = logits.float()
    asking = [
        row
        for row, sequence in enumerate(sequences)
        if sequence.request.params.logprobs is not None
    ]
    log_p = logits[asking].log_softmax(-1)  # before the edits
    healthy = logits.amax(-1).isfinite().tolist()
    apply_edits(logits, [sequence.edits for sequence in sequences])
    requests = [sequence.request for sequence in sequences]
    uniform = uniforms(
        np.array([request.seed for request in requests]),
        np.array([sequence.index for sequence in sequences]),
        np.array([sequence.generated for sequence in sequences]),
    )
    drawn = sample(logits, Knobs.of([request.params for request in requests]), uniform).tolist()
    found: dict[int, Score] = {}
    if asking:
        counts = [sequences[row].request.params.logprobs or 0 for row in asking]
        found = dict(
            zip(asking, scores(log_p, [drawn[row] for row in asking], counts), strict=True)
        )
    return [
        Drawn(token if fine else None, found.get(row))
        for row, (token, fine) in enumerate(zip(drawn, healthy, strict=True))
    ]
