"""Log-probabilities of generated tokens and of prompts, for the rows that ask for them.

They are the model's own: before temperature, penalties and filters.
"""

from __future__ import annotations

import torch

from common.types import TokenLogprob

from .base import Detokenizer
from .scheduler import Chunk
from .sequence import Sequence


class Logprobs:
    def __init__(self, detokenizer: Detokenizer):
        self._detokenizer = detokenizer

    def keep(self, sequences: list[Sequence], logits: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        """The rows that ask, and their log-probabilities (asking, vocabulary), before anybody edits the logits."""
        asking = [row for row, sequence in enumerate(sequences) if sequence.request.params.logprobs is not None]
        return asking, logits[asking].log_softmax(-1)

    def note(self, sequences: list[Sequence], tokens: list[int], raw: tuple[list[int], torch.Tensor]) -> None:
        asking, log_p = raw
        if asking:
            counts = [sequences[row].request.params.logprobs or 0 for row in asking]
            for row, found in zip(asking, self._found(log_p, [tokens[row] for row in asking], counts), strict=True):
                sequences[row].logprobs.append(found)

    def places(self, chunks: list[Chunk], ends: list[int]) -> list[tuple[Sequence, int, int]]:
        """(sequence, position, place in the step) of each prompt token whose successor's log-probability is wanted."""
        asked = []
        for chunk, end in zip(chunks, ends, strict=True):
            sequence = chunk.sequence
            # One continuation's worth is enough; a preempted one has noted its first positions already.
            if sequence.request.params.prompt_logprobs is not None and sequence.index == 0:
                last = len(sequence.request.prompt_ids) - 1
                first = max(chunk.start, len(sequence.prompt_logprobs) - 1, 0)
                place = end - chunk.count - chunk.start
                asked += [(sequence, at, place + at) for at in range(first, min(chunk.start + chunk.count, last))]
        return asked

    def note_prompts(self, asked: list[tuple[Sequence, int, int]], logits: torch.Tensor) -> None:
        """`logits` are (asked, vocabulary)."""
        if not asked:
            return
        followers = [sequence.request.prompt_ids[at + 1] for sequence, at, _ in asked]
        counts = [sequence.request.params.prompt_logprobs or 0 for sequence, *_ in asked]
        for (sequence, *_), found in zip(
            asked, self._found(logits.float().log_softmax(-1), followers, counts), strict=True
        ):
            if not sequence.prompt_logprobs:
                sequence.prompt_logprobs.append(None)  # nothing comes before the first token
            sequence.prompt_logprobs.append(found)

    def _found(self, log_p: torch.Tensor, tokens: list[int], counts: list[int]) -> list[TokenLogprob]:
        own = log_p.gather(1, torch.tensor(tokens, device=log_p.device)[:, None]).squeeze(1).tolist()
        top = log_p.topk(max(1, *counts), -1)
        likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [
            TokenLogprob(
                token,
                self._spell(token),
                logprob,
                [(id_, self._spell(id_), value) for id_, value in zip(ids[:count], values[:count], strict=True)],
            )
            for token, logprob, count, (ids, values) in zip(tokens, own, counts, likeliest, strict=True)
        ]

    def _spell(self, token: int) -> str:
        return self._detokenizer.stream().step(token)
