"""Computes log-probabilities of generated tokens and of prompt tokens, for the rows that ask for
them.

They are the model's own, before temperature, penalties and filters. Computing them changes no
sequence; `scheduling/open_requests.py` stores them once the step has succeeded.
"""

from __future__ import annotations

import torch

from worker.engine.scheduling.drawn import Score
from worker.engine.scheduling.scheduler import Chunk
from worker.engine.scheduling.sequence import Sequence

SCORED_AT_ONCE = 512  # rows of logits; some 300 MB in float32 with a vocabulary of 150,000


def places(chunks: list[Chunk], ends: list[int]) -> list[tuple[Sequence, int, int]]:
    """(sequence, position, place in the step) of each prompt token whose successor's
    log-probability is wanted."""
    asked = []
    for chunk, end in zip(chunks, ends, strict=True):
        sequence = chunk.sequence
        # Only of the first continuation; one that was preempted has its first positions already.
        if sequence.request.params.prompt_logprobs is not None and sequence.index == 0:
            last = len(sequence.request.prompt_ids) - 1
            first = max(chunk.start, len(sequence.prompt_logprobs) - 1)
            place = end - chunk.count - chunk.start
            asked += [
                (sequence, at, place + at)
                for at in range(first, min(chunk.start + chunk.count, last))
            ]
    return asked


def prompt_scores(
    asked: list[tuple[Sequence, int, int]], logits: torch.Tensor
) -> list[tuple[Sequence, Score]]:
    """Each of `asked` with the score of its successor; `logits` are (asked, vocabulary)."""
    followers = [sequence.request.prompt_ids[at + 1] for sequence, at, _ in asked]
    counts = [sequence.request.params.prompt_logprobs or 0 for sequence, *_ in asked]
    found: list[Score] = []
    for begin in range(0, len(asked), SCORED_AT_ONCE):
        part = slice(begin, begin + SCORED_AT_ONCE)
        found += scores(logits[part].float().log_softmax(-1), followers[part], counts[part])
    return [(sequence, score) for (sequence, *_), score in zip(asked, found, strict=True)]


def scores(log_p: torch.Tensor, tokens: list[int], counts: list[int]) -> list[Score]:
    """The score of each row's token, with as many alternatives as its count; `log_p` is (rows,
    vocabulary)."""
    own = (
        log_p.gather(1, torch.tensor(tokens, dtype=torch.int64, device=log_p.device)[:, None])
        .squeeze(1)
        .tolist()
    )
    top = log_p.topk(min(max(1, *counts), log_p.shape[1]), -1)
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [
        Score(token, logprob, list(zip(ids[:count], values[:count], strict=True)))
        for token, logprob, count, (ids, values) in zip(tokens, own, counts, likeliest, strict=True)
    ]
