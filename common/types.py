"""The states of jobs and items, and the model card.

A leaf: imports no other module of promptmill. Decoding parameters are in `common/params.py`, the
engine's requests and answers in `common/generation.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

# An object of JSON whose fields are not known here: what somebody sent before it was checked, or
# what is handed on as it is. What is known has a type of its own.
JsonObject: TypeAlias = dict[str, Any]


class ItemState(StrEnum):
    """The state of an item. Its byte in the string `job:{id}:st` is `byte`."""

    PENDING = "pending"  # attach; again when its worker loses its lease or hands it back
    RUNNING = "running"  # exchange, when a worker claims it
    SUCCEEDED = "succeeded"  # exchange, when a worker hands in its result
    FAILED = "failed"  # exchange (the engine refused it), or tick (its workers died too often)
    CANCELLED = "cancelled"  # cancel if it was pending, exchange if it was running
    EXPIRED = "expired"  # tick if it was pending at the deadline, exchange if it was running

    @property
    def byte(self) -> str:
        return self.value[0]

    @classmethod
    def from_byte(cls, byte: str) -> ItemState:
        return _STATE_OF_BYTE[byte]


_STATE_OF_BYTE = {state.value[0]: state for state in ItemState}

# Every change of an item's state, by the letters of docs/states.md: from (None: at its start), to.
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
    """The state of a job. Terminal states never change."""

    QUEUED = "queued"  # attach
    RUNNING = "running"  # exchange, at the first claim
    COMPLETED = "completed"  # settle: every item is terminal, even if all of them failed
    CANCELLED = "cancelled"  # settle, after a cancel that left some item cancelled
    EXPIRED = "expired"  # settle, after the deadline left some item expired

    @property
    def terminal(self) -> bool:
        return self in (JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED)


class ModelCard(BaseModel):
    """What a worker publishes about its model. It stays when the worker ends.

    `digest` is a hash of weights, tokenizer, template, context, dtype and engine. `tokenizer` is
    the kind of the record `tokenizer:{digest}`: `json` (a `tokenizers` file), `words` (each word is
    a token, for the echo engine) or `none` (only the worker can count). The chat template may use
    `special_tokens`. Token ids are below `vocabulary`; None if there is no limit.
    """

    id: str
    digest: str
    engine: str  # native, generate, vllm or echo
    device: str
    dtype: str
    context: int  # tokens, prompt and continuation together
    slots: int
    tokenizer: Literal["json", "words", "none"]
    chat_template: str | None = None
    special_tokens: dict[str, str] = {}
    vocabulary: int | None = None
    # Same seed, same text, whatever else runs; ties that rounding decides are the exception.
    reproducible: bool = False
    # What computes its steps: the name of the compiled kernels, or `torch` with the kind of device.
    kernels: str = ""
    # Each row gets the same bits whatever rows are computed beside it.
    batch_invariant: bool = False
    quantization: str | None = None  # int8, or what vLLM calls that of the checkpoint
    defaults: dict[str, Any] = {}  # the model's own params, which a job's params override
    created: int  # unix seconds
    # What its engine can do beyond generating text: `structured_output` (params.output), `thinking`
    # (params.thinking, and thoughts told apart from the text), `continuations`, `seeded_resume` (a
    # row with a seed goes on from its checkpoint with the same text) and `adapters`.
    features: tuple[str, ...] = ()
    # The decoding parameters that its engine honours, besides `output` and `thinking`, which are
    # features; None on the card of an older worker, whose engine honours all.
    params: tuple[str, ...] | None = None
    # The hub id that it was loaded from, which PROMPTMILL_MODEL takes; "" for a folder.
    source: str = ""
    # A model with an adapter: the adapter's name, and the name and the digest of the model without
    # it, whose tokenizer and template it has.
    adapter: str | None = None
    base: str | None = None
    base_digest: str | None = None
