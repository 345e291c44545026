"""States of jobs and items, and the model card. Knows nothing of Redis, Celery, HTTP or torch.

What a job chooses for decoding is in `common/params.py`; what the engine is given and answers is in
`common/generation.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

# An object of JSON whose fields are not known here: what somebody sent before it was checked, or
# what is handed on as it is. What is known has a type of its own.
JsonObject: TypeAlias = dict[str, Any]


class ItemState(StrEnum):
    """Where an item is. The byte is what `job:{id}:st` holds for it."""

    PENDING = "pending"  # attach puts it here; a lost or handed-back lease brings it back
    RUNNING = "running"  # exchange, when a worker claims it
    SUCCEEDED = "succeeded"  # exchange, when its result is handed in
    FAILED = "failed"  # exchange (the engine refused it), or tick (its workers died three times)
    CANCELLED = "cancelled"  # cancel if it was pending, exchange if it was running
    EXPIRED = "expired"  # tick if it was pending at the deadline, exchange if it was running

    @property
    def byte(self) -> str:
        return self.value[0]

    @classmethod
    def from_byte(cls, byte: str) -> ItemState:
        return _STATE_OF_BYTE[byte]


_STATE_OF_BYTE = {state.value[0]: state for state in ItemState}

# Every way an item may go, by the letters of docs/states.md: from (None: it comes to be) and to.
ENDS = frozenset({ItemState.SUCCEEDED, ItemState.FAILED, ItemState.CANCELLED, ItemState.EXPIRED})
MOVES: dict[str, tuple[ItemState | None, frozenset[ItemState]]] = {
    "a": (None, frozenset({ItemState.PENDING})),
    "b": (ItemState.PENDING, frozenset({ItemState.RUNNING})),
    "c": (ItemState.RUNNING, ENDS),
    "d": (ItemState.RUNNING, frozenset({ItemState.PENDING})),
    "e": (ItemState.RUNNING, frozenset({ItemState.PENDING})),
    "f": (ItemState.PENDING, frozenset({ItemState.CANCELLED})),
    "g": (ItemState.PENDING, frozenset({ItemState.EXPIRED})),
    "h": (ItemState.RUNNING, frozenset({ItemState.FAILED})),
}


class JobState(StrEnum):
    """Where a job is. Terminal states never change."""

    QUEUED = "queued"  # attach
    RUNNING = "running"  # exchange, at the first claim
    COMPLETED = "completed"  # settle: every item is terminal, even if all of them failed
    CANCELLED = "cancelled"  # settle, after a cancel that left some item cancelled
    EXPIRED = "expired"  # settle, after the deadline left some item expired

    @property
    def terminal(self) -> bool:
        return self in (JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED)


class ModelCard(BaseModel):
    """What a worker publishes about its model; outlives the worker.

    `digest` pins weights, tokenizer, template, context and dtype. `tokenizer` names the blob
    `tokenizer:{digest}` holds: `json` (a `tokenizers` file), `words` (the echo engine's: one token
    a word) or `none` (counts are only known to the worker). `special_tokens` are what the chat
    template may mention. Token ids are below `vocabulary`; None where any will do.
    """

    id: str
    digest: str
    engine: str  # native, generate or echo
    device: str
    dtype: str
    context: int  # tokens, prompt and continuation together
    slots: int
    tokenizer: Literal["json", "words", "none"]
    chat_template: str | None = None
    special_tokens: dict[str, str] = {}
    vocabulary: int | None = None
    # Same seed, same text, whatever else runs (ties that rounding decides aside)
    reproducible: bool = False
    defaults: dict[str, Any] = {}  # the model's own sampling params, for jobs that say nothing else
    created: int  # unix seconds
