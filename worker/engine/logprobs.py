"""Computes log-probabilities of generated tokens, prompt tokens and scored texts, for the rows
that ask for them.

They are the model's own, before temperature, penalties and filters. Computing them changes no
sequence; `scheduling/open_requests.py` stores them once the step has succeeded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from worker.engine.sampling import row_by_row, together
from worker.engine.scheduling.drawn import Score, Scores
from worker.engine.scheduling.scheduler import Chunk
from worker.engine.scheduling.sequence import Sequence

SCORED_AT_ONCE = 512  # rows of logits; some 300 MB in float32 with a vocabulary of 150,000


@dataclass(frozen=True, slots=True)
class Asked:
    """The log-probabilities of `tokens` that are wanted, with as many alternatives, from the logits
    at a `position` of a sequence: the `place`-th token of the step."""

    sequence: Sequence
    position: int
    place: int
    tokens: list[int]
    alternatives: int


def places(chunks: list[Chunk], ends: list[int]) -> list[Asked]:
    """What is asked of a step besides its rows' next tokens; `ends` are where its chunks end."""
    return [
        Asked(chunk.sequence, position, end - chunk.count - chunk.start + position, tokens, count)
        for chunk, end in zip(chunks, ends, strict=True)
        for position, tokens, count in (*_of_prompt(chunk), *_of_continuation(chunk))
    ]


def _of_prompt(chunk: Chunk) -> Iterator[tuple[int, list[int], int]]:
    """Each prompt token whose successor's log-probability is wanted."""
    sequence = chunk.sequence
    ids, alternatives = sequence.request.prompt_ids, sequence.request.params.prompt_logprobs
    # Only of the first continuation; one that was preempted has its first positions already.
    if alternatives is not None and sequence.index == 0:
        first = max(chunk.start, len(sequence.prompt_logprobs) - 1)
        for position in range(first, min(chunk.start + chunk.count, len(ids) - 1)):
            yield position, [ids[position + 1]], alternatives


def _of_continuation(chunk: Chunk) -> Iterator[tuple[int, list[int], int]]:
    scoring = chunk.sequence.scoring
    if scoring is not None:
        alternatives = chunk.sequence.request.params.logprobs or 0
        for position in range(max(chunk.start, scoring.first), chunk.start + chunk.count):
            yield position, scoring.wanted(position), alternatives


def scored(asked: list[Asked], logits: torch.Tensor) -> list[tuple[Asked, Scores]]:
    """Each of `asked` with what was found; `logits` are (asked, vocabulary)."""
    found: list[Scores] = []
    for begin in range(0, len(asked), SCORED_AT_ONCE):
        part = asked[begin : begin + SCORED_AT_ONCE]
        log_p = logits[begin : begin + SCORED_AT_ONCE].float().log_softmax(-1)
        values = _of_tokens(log_p, [each.tokens for each in part])
        top = _likeliest(log_p, [each.alternatives for each in part])
        found += [
            Scores(each.tokens, logprobs, likeliest)
            for each, logprobs, likeliest in zip(part, values, top, strict=True)
        ]
    return list(zip(asked, found, strict=True))


def scores(log_p: torch.Tensor, tokens: list[int], counts: list[int]) -> list[Score]:
    """The score of each row's token, with as many alternatives as its count; `log_p` is (rows,
    vocabulary)."""
    values = _of_tokens(log_p, [[token] for token in tokens])
    top = _likeliest(log_p, counts)
    return [
        Score(token, logprob, likeliest)
        for token, (logprob,), likeliest in zip(tokens, values, top, strict=True)
    ]


def _of_tokens(log_p: torch.Tensor, tokens: list[list[int]]) -> list[list[float]]:
    """The log-probabilities of each row's tokens, at least one a row."""
    widest = max(map(len, tokens))
    filled = [row + row[:1] * (widest - len(row)) for row in tokens]
    index = torch.tensor(filled, dtype=torch.int64, device=log_p.device)
    values = log_p.gather(1, index).tolist()
    return [row[: len(wanted)] for row, wanted in zip(values, tokens, strict=True)]


def _likeliest(log_p: torch.Tensor, counts: list[int]) -> list[list[tuple[int, float]]]:
    """Each row's likeliest tokens, as many as its count, with their log-probabilities; the lowest
    id first among equals, so that other rows' counts change nothing."""
    if not any(counts):
        return [[] for _ in counts]
    if log_p.device.type == "cpu":
        rows = log_p.numpy()
        found = [row_by_row.largest(row, count) for row, count in zip(rows, counts, strict=True)]
        return [
            list(zip(ids.tolist(), row[ids].tolist(), strict=True))
            for row, ids in zip(rows, found, strict=True)
        ]
    top = together.largest(log_p, min(max(counts), log_p.shape[1]))
    each = zip(top.tolist(), log_p.gather(1, top).tolist(), counts, strict=True)
    return [list(zip(ids[:count], values[:count], strict=True)) for ids, values, count in each]
