"""What an engine is given, one request for each item, and what it answers. Knows no tensors.

These are dataclasses, because nothing in them comes from a user unchecked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from common.params import SamplingParams
from common.structured.grammar import Grammar

FinishReason = Literal["stop", "length", "cancelled", "expired", "error"]


@dataclass(frozen=True, slots=True)
class ThinkingSpan:
    """How a model thinks before it answers: between two tokens, each of which is one id."""

    start_id: int  # `<think>`
    end_id: int  # `</think>`
    open: bool  # the prompt ends inside, so that the model thinks from its first token on
    max_tokens: int | None = None  # thoughts of this many tokens end with `end_id`


@dataclass(slots=True)
class Request:
    """One item as the engine gets it. Its `Finished` has the same `id`; `seed` is always set."""

    id: str
    prompt: str  # as rendered; the engine reads `prompt_ids`
    prompt_ids: list[int]
    params: SamplingParams
    seed: int
    # The tokens of each continuation at the last checkpoint.
    resume: list[list[int]] | None = None
    # A client waits for it, so its tokens come before those of other requests.
    interactive: bool = False
    # Called on the engine's thread for each token.
    on_token: Callable[[NewToken], None] | None = None
    # What the text is bound to; with `thinking`, what follows the thoughts.
    grammar: Grammar | None = None
    # Set where thoughts are told apart from the text.
    thinking: ThinkingSpan | None = None
    # Texts to be scored after the prompt, as token ids; nothing is generated then. With a choice
    # whose probabilities are wanted these are its labels, of which `n` are drawn.
    continuations: list[list[int]] | None = None
    # Its worker died, and it may be the cause: no item of another model runs beside it.
    suspect: bool = False
    # The name of the adapter that the model has for it.
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A generated token as it is streamed. `text` is what is certain now; with `reasoning` it is
    part of the model's thoughts, not of its answer."""

    sequence: int  # which of the request's n continuations
    token: int
    text: str
    logprob: TokenLogprob | None = None  # if the params ask for it
    reasoning: bool = False


class DecodeStream(Protocol):
    """Decodes one sequence's tokens as they come."""

    def step(self, token_id: int) -> str:
        """The text this token completes; empty while a multi-byte character is still open."""
        ...

    def rest(self) -> str:
        """No more tokens come: the whole characters that looked as if they were open."""
        ...


@dataclass(frozen=True, slots=True)
class Spelling:
    """A token as text. `raw` are the bytes that it adds to the text, if they are not those of
    `text`: a part of a character, which `text` has as escapes (`\\xe6\\x97`), or none for an end
    token."""

    token_id: int
    text: str
    raw: bytes | None = None

    @property
    def added(self) -> bytes:
        return self.text.encode() if self.raw is None else self.raw


@dataclass(slots=True)
class TokenLogprob:
    """A token, its log-probability, and the likeliest alternatives as (log-probability, spelling).

    They are the model's own, before temperature, penalties and filters.
    """

    token: Spelling
    logprob: float | None  # None for the first token of a prompt
    top: list[tuple[float, Spelling]]


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """A given text as the model scores it after the prompt. `logprob` is the sum over its
    `token_count` tokens, or over all but the first where nothing comes before that."""

    logprob: float
    token_count: int
    probability: float  # its share among the request's
    probability_per_token: float  # the same with the mean log-probability of a token
    logprobs: list[TokenLogprob] | None = None  # one for each token, if the params ask for them


@dataclass(frozen=True, slots=True)
class Choice:
    """A label that was to choose from: the log-probability of all of it with its end, and its
    probability among all labels."""

    text: str
    logprob: float
    probability: float


@dataclass(slots=True)
class Output:
    """One continuation. `token_count` includes the end token, the tokens of a stop string and
    thoughts."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[TokenLogprob] | None = None  # one for each token, if the params ask for them
    # Whether the text parses; None where it is not bound to be JSON.
    json_valid: bool | None = None
    # The model's thoughts; None where they are not told apart from the text.
    reasoning: str | None = None
    reasoning_tokens: int = 0  # of `token_ids`: those of the thoughts, with the marks around them
    choices: list[Choice] | None = None  # what it was drawn from, if that was asked for

    @property
    def token_count(self) -> int:
        return len(self.token_ids)


@dataclass(slots=True)
class Finished:
    """The answer to a request; each request has exactly one. `error` is `(code, message)`; there
    are outputs beside it if the text up to there is of use."""

    id: str
    outputs: list[Output] = field(default_factory=list)
    prompt_tokens: int = 0
    error: tuple[str, str] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None  # one per prompt token
    continuations: list[ContinuationScore] | None = None  # one for each of the request's
    scored_tokens: int | None = None  # of all continuations or labels, where any were scored

    @property
    def completion_tokens(self) -> int:
        if self.scored_tokens is not None:
            return self.scored_tokens
        return sum(output.token_count for output in self.outputs)
