"""What is judged: an item with the texts that were generated for it, and its references."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One generated text.

    `token_count` and `logprob`, the sum of its tokens' log-probabilities, are None where the run
    did not keep them. `json_valid` is what the engine found where it knows the schema; None: the
    text is parsed.
    """

    text: str
    token_count: int | None = None
    logprob: float | None = None
    json_valid: bool | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """Without outputs it is an item that failed. A reference that is only white space is empty."""

    outputs: tuple[Output, ...]
    references: tuple[str, ...] = ()

    @property
    def comparable(self) -> tuple[str, ...]:
        """The references that are not empty."""
        return tuple(text for text in self.references if text.strip())
