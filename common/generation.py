"""What an engine is given, one request for each item, and what it answers. Knows no tensors.

These are dataclasses, because nothing in them comes from a user unchecked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from common.params import SamplingParams

FinishReason = Literal["stop", "length", "cancelled", "expired", "error"]


@dataclass(slots=True)
class Request:
    """One item as the engine takes it. `id` comes back on its `Finished`; `seed` is always set."""

    id: str
    prompt: str  # as rendered; the engine itself reads prompt_ids
    prompt_ids: list[int]
    params: SamplingParams
    seed: int
    # What each continuation had generated at its last checkpoint.
    resume: list[list[int]] | None = None
    # Somebody waits for it: its tokens come before those of other requests.
    interactive: bool = False
    # (continuation, token id, text now certain, the token's log-probability if asked for), on the
    # engine's thread
    on_token: Callable[[int, int, str, TokenLogprob | None], None] | None = None


class DecodeStream(Protocol):
    """Decodes one sequence's tokens as they come."""

    def step(self, token_id: int) -> str:
        """The text this token completes; empty while a multi-byte character is still open."""
        ...


@dataclass(frozen=True, slots=True)
class Spelling:
    """A token as text. `raw` is what it adds to the text in UTF-8 where that is not `text` itself:
    a part of a character, which `text` shows as escapes (`\\xe6\\x97`), or nothing, for an end
    token and its like."""

    token_id: int
    text: str
    raw: bytes | None = None

    @property
    def added(self) -> bytes:
        return self.text.encode() if self.raw is None else self.raw


@dataclass(slots=True)
class TokenLogprob:
    """One token, how likely the model found it, and the likeliest alternatives as (log-probability,
    spelling).

    Of the model's own distribution: before temperature, penalties and filters.
    """

    token: Spelling
    logprob: float | None  # None for a prompt's first token: nothing comes before it
    top: list[tuple[float, Spelling]]


@dataclass(slots=True)
class Output:
    """One continuation. `token_count` counts what was generated, the end token and a stop string's
    tokens included."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[TokenLogprob] | None = None  # one per token, if asked for

    @property
    def token_count(self) -> int:
        return len(self.token_ids)


@dataclass(slots=True)
class Finished:
    """What became of a request; exactly one for each that was submitted. `error` is `(code,
    message)`."""

    id: str
    outputs: list[Output] = field(default_factory=list)
    prompt_tokens: int = 0
    error: tuple[str, str] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None  # one per prompt token

    @property
    def completion_tokens(self) -> int:
        return sum(output.token_count for output in self.outputs)
