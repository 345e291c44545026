"""What a worker asks of an engine; `native`, `generate` and `echo` all answer to it.

An engine knows no Redis, no Celery and no HTTP. It turns token ids into text on a thread of its
own; whoever holds it submits requests and collects what finished. All methods may be called from
any thread.
"""

from __future__ import annotations

from typing import Literal, Protocol

from common.types import Finished, Request, Spelling


class Detokenizer(Protocol):
    """Turns generated ids back into text as they come."""

    eos_ids: frozenset[int]

    def encode(self, text: str, special: bool = True) -> list[int]: ...

    def spell(self, token_id: int) -> Spelling:
        """A token by itself, as it reads in the middle of a text."""
        ...

    def special_id(self, text: str) -> int | None:
        """The id of the special token that is written so, which never shows in a text."""
        ...

    def stream(self) -> DecodeStream:
        """A fresh incremental decoder for one sequence."""
        ...


class DecodeStream(Protocol):
    def step(self, token_id: int) -> str:
        """The text this token completes; empty while a multi-byte character is still open."""
        ...


class Engine(Protocol):
    slots: int  # sequences at once
    context: int  # tokens a sequence may have, prompt included

    def start(self) -> None:
        """Start the stepping thread, after a warm-up step that fails loudly if the model cannot
        run."""
        ...

    def submit(self, request: Request) -> None:
        """Queue a request. Each is collected exactly once; one that can never fit comes back as an
        error."""
        ...

    def cancel(self, request_id: str, reason: Literal["cancelled", "expired"]) -> None:
        """End a request at the next step; it is collected with its partial text. Unknown ids are
        ignored."""
        ...

    def room(self) -> int:
        """Slots neither taken nor promised to a submitted request; never negative."""
        ...

    def collect(self, timeout: float) -> list[Finished]:
        """What finished since the last call; waits up to `timeout` seconds for something, or for
        `poke`."""
        ...

    def poke(self) -> None:
        """Make a waiting `collect` return now."""
        ...

    def checkpoint(self) -> dict[str, list[list[int]]]:
        """What each unfinished request has generated so far, per continuation; `Request.resume`
        takes it back."""
        ...

    def step_age(self) -> float:
        """Seconds the current step has been running; 0 when no step is. The worker's wedge check
        reads it."""
        ...

    def step_times(self) -> list[float]:
        """Seconds that each step since the last call took, of the last 4096; empty where nothing is
        done in steps."""
        ...

    def stop(self) -> None:
        """End the thread; what was not collected is lost."""
        ...
