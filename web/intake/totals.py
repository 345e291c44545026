"""What a job's items come to: tokens, continuations, and the bytes their results may take."""

from __future__ import annotations

from dataclasses import dataclass

from common.params import SamplingParams
from web.intake.scores import TEXT_BYTES, Scored


@dataclass
class Totals:
    items: int = 0
    prompt_tokens: int = 0
    max_prompt_tokens: int = 0
    max_completion_tokens: int = 0
    n_max: int = 1
    streams: int = 0  # continuations that are streamed
    logprobs: int = 0  # bytes that log-probabilities may take in the results, as stored
    with_logprobs: int = 0  # items whose outputs come with log-probabilities
    referenced: int = 0  # items that have a reference

    def add(self, params: SamplingParams, max_tokens: int, tokens: int, stream: bool) -> None:
        """Count an item whose prompt has so many tokens."""
        self._add_prompt(params, tokens, stream)
        self.max_completion_tokens += params.n * max_tokens
        self.logprobs += params.n * max_tokens * _logprob_bytes(params.logprobs)

    def add_scored(self, params: SamplingParams, scored: Scored, tokens: int, stream: bool) -> None:
        """Count an item that has texts scored behind a prompt of so many tokens."""
        self._add_prompt(params, tokens, stream)
        self.max_completion_tokens += scored.tokens
        told = params.n * max(scored.counts or [0]) if scored.are_labels else scored.tokens
        self.logprobs += told * _logprob_bytes(params.logprobs)
        self.logprobs += params.n * scored.texts * TEXT_BYTES

    def _add_prompt(self, params: SamplingParams, tokens: int, stream: bool) -> None:
        self.items += 1
        self.prompt_tokens += tokens
        self.max_prompt_tokens = max(self.max_prompt_tokens, tokens)
        self.n_max = max(self.n_max, params.n)
        self.logprobs += tokens * _logprob_bytes(params.prompt_logprobs)
        self.streams += params.n if stream else 0
        self.with_logprobs += params.logprobs is not None

    @property
    def cost(self) -> int:
        """The most tokens that an item is expected to need: what claiming one charges its
        tenant."""
        return -(-(self.prompt_tokens + self.max_completion_tokens) // max(1, self.items))

    @property
    def surplus(self) -> int:
        """Bytes that an item's result may take beside its tokens; `all_surplus` is that of all."""
        return -(-self.logprobs // max(1, self.items))

    @property
    def all_surplus(self) -> int:
        return self.surplus * self.items


def _logprob_bytes(alternatives: int | None) -> int:
    """What a token's log-probability takes in a stored result, compressed, with so many
    alternatives: on a chat model 15 bytes were measured with none, and 12 more with each."""
    return 0 if alternatives is None else 20 + 13 * alternatives
