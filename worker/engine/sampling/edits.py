"""What changes a row's logits before a token is drawn: biases, penalties and bans, kept sparse.

One `Edits` per sequence follows its tokens; `apply.py` writes the edits of all rows into the
logits. The order is that of transformers: logit_bias, then penalties, then bans. No tensors.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from common.params import SamplingParams


class Edits:
    """The edits of one sequence. `bad_words` are token id sequences that must not appear; `end_ids`
    are banned while the text is shorter than `min_tokens`."""

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: list[int],
        end_ids: frozenset[int],
        bad_words: list[list[int]],
    ):
        self._params = params
        self._end_ids = sorted(end_ids)
        self._bad_words = bad_words
        self._tokens = list(prompt_ids)
        self._prompt_length = len(prompt_ids)
        # N-1 tokens -> what followed them.
        self._ngrams: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._place: dict[int, int] = {}  # token id -> its place in `seen`
        self.penalizes = (
            params.repetition_penalty != 1
            or params.presence_penalty != 0
            or params.frequency_penalty != 0
        )
        # (token id, times generated); grows by doubling.
        self.seen = np.zeros((64, 2), dtype=np.int64)
        # (token id, added)
        self.bias = np.array(sorted(params.logit_bias.items()), dtype=np.float64).reshape(-1, 2)
        self.any = bool(
            self.penalizes
            or len(self.bias)
            or bad_words
            or params.no_repeat_ngram_size
            or params.min_tokens
        )
        if params.repetition_penalty != 1:
            for token in prompt_ids:
                self._see(token, 0)
        if size := params.no_repeat_ngram_size:
            for end in range(size, len(prompt_ids) + 1):
                self._file_ngram(end)

    def push(self, token: int) -> None:
        """`token` was generated."""
        if not self.any:
            return
        self._tokens.append(token)
        if self.penalizes:
            self._see(token, 1)
        if self._params.no_repeat_ngram_size:
            self._file_ngram(len(self._tokens))

    @property
    def seen_rows(self) -> np.ndarray:
        return self.seen[: len(self._place)]

    @property
    def penalties(self) -> tuple[float, float, float]:
        params = self._params
        return params.repetition_penalty, params.presence_penalty, params.frequency_penalty

    def bans(self) -> list[int]:
        """Token ids that may not come next."""
        banned: list[int] = []
        generated = len(self._tokens) - self._prompt_length
        if generated < self._params.min_tokens:
            banned += self._end_ids
        if size := self._params.no_repeat_ngram_size:
            banned += self._ngrams.get(tuple(self._tokens[len(self._tokens) - size + 1 :]), [])
        for word in self._bad_words:
            start = len(word) - 1
            if start == 0 or (generated >= start and self._tokens[-start:] == word[:-1]):
                banned.append(word[-1])
        return banned

    def _see(self, token: int, times: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self.seen):
            self.seen = np.concatenate([self.seen, np.zeros_like(self.seen)])
        self.seen[place, 0] = token
        self.seen[place, 1] += times

    def _file_ngram(self, end: int) -> None:
        size = self._params.no_repeat_ngram_size
        if end >= size:
            self._ngrams[tuple(self._tokens[end - size : end - 1])].append(self._tokens[end - 1])
