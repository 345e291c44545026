"""One continuation that is being generated: its tokens, how many of them are computed, and the
blocks with their keys and values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from common.generation import FinishReason, Output, Request, TokenLogprob
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.grammar import Constraint
from worker.engine.scheduling.scoring import Scoring
from worker.engine.scheduling.text import Speller, Text


@dataclass(slots=True, eq=False)
class Sequence:
    """The state of one continuation; the scheduler and `open_requests.py` change it."""

    request: Request
    index: int  # which of the request's n continuations
    arrival: int  # age in the engine
    tokens: list[int]  # prompt, then what was generated, or what is scored now
    text: Text
    edits: Edits
    stop_ids: frozenset[int] = frozenset()  # tokens that end it besides the model's end tokens
    constraint: Constraint | None = None
    thoughts: Text | None = None  # where they are told apart from `text`
    told: int = 0  # so many of its first tokens were streamed before
    computed: int = 0  # tokens whose keys and values are in `blocks`
    blocks: list[int] = field(default_factory=list)
    filed: int = 0  # leading blocks that the prefix cache knows
    chain: int = 0  # the prefix cache's number for everything up to there
    finish_reason: FinishReason | None = None
    error: tuple[str, str] | None = None  # what ended it, with its text kept, as (code, message)
    # Of the generated tokens, where their log-probabilities are wanted.
    speller: Speller | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_speller: Speller | None = None  # likewise of the prompt's
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    scoring: Scoring | None = None  # the texts that are scored: nothing is generated then

    @property
    def generated(self) -> int:
        """How many tokens were generated so far."""
        return len(self.tokens) - len(self.request.prompt_ids)

    @property
    def said(self) -> list[int]:
        """The tokens that were generated so far."""
        return [] if self.scoring is not None else self.tokens[len(self.request.prompt_ids) :]

    @property
    def lasting(self) -> int:
        """Tokens that stay as they are: the texts that are scored take turns behind the prompt."""
        return len(self.tokens) if self.scoring is None else len(self.request.prompt_ids)

    @property
    def findable(self) -> int:
        """Leading tokens that need not be computed where the prefix cache has them. The last token
        always is: its logits are needed to sample."""
        if self.scoring is None:
            return len(self.tokens) - 1
        return min(self.lasting, self.scoring.first)

    @property
    def scored_from(self) -> int | None:
        """The position from which on the logits of all tokens are wanted, if any are."""
        if not self.shares_prefix:
            return 0
        return self.scoring.first if self.scoring is not None else None

    @property
    def shares_prefix(self) -> bool:
        """Whether the sequence may take blocks from the prefix cache. A prompt whose
        log-probabilities are wanted is computed in full, because they need its logits."""
        return self.request.params.prompt_logprobs is None

    @property
    def is_plainly_greedy(self) -> bool:
        """Whether the next token is simply the likeliest of those that may come, without edits or
        log-probabilities."""
        params = self.request.params
        return params.is_greedy and params.logprobs is None and not self.edits.any

    @property
    def seniority(self) -> tuple[bool, int]:
        """The sort key of rows, the most senior first: interactive rows, then all others, each by
        age."""
        return not self.request.interactive, self.arrival

    def flush(self) -> str:
        """No more tokens come: returns the text that was held back."""
        return (self.thoughts.flush() if self.thoughts else "") + self.text.flush()

    @property
    def json_valid(self) -> bool | None:
        """Whether the text is all of what its grammar asks for; None where that is no JSON. `983`
        is JSON, but not where the number must be 100,000 at least."""
        grammar, matcher = self.request.grammar, self.constraint and self.constraint.matcher
        if not grammar or not grammar.json:
            return None
        return bool(matcher and matcher.can_end) and _parses(self.text.final())

    def output(self) -> Output:
        """The continuation as users get it, once it has ended."""
        assert self.finish_reason is not None
        wants = self.request.params.logprobs is not None
        return Output(
            self.text.final(),
            self.said,
            self.finish_reason,
            self.logprobs if wants else None,
            self.json_valid,
            self.thoughts.final() if self.thoughts else None,
            self.constraint.reasoning_tokens if self.constraint else 0,
        )


def _parses(text: str) -> bool:
    try:
        # As text, because Python refuses long integers.
        json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True
