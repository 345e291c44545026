"""The nouns every room shares. A leaf: knows nothing of Redis, Celery, HTTP or torch.

Pydantic models are what users write (validated once, at the entrance); dataclasses are what the
rooms hand each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError


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


FinishReason = Literal["stop", "length", "cancelled", "expired", "error"]

# Hugging Face's spellings of what we call otherwise; refused with the right name.
OTHER_NAMES = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "num_return_sequences": "n",
    "do_sample": "temperature (0 is greedy)",
    "eos_token_id": "stop_token_ids",
    "stop_strings": "stop",
    "bad_words_ids": "bad_words",
}


def whole(value: Any) -> Any:
    """3.0 as 3, also in a list: JSON makes no difference, and a column of numbers that has a gap is
    one of floats."""
    if type(value) is list:
        return [whole(each) for each in value] if float in set(map(type, value)) else value
    return int(value) if type(value) is float and value.is_integer() else value


StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


def are_token_ids(value: Any) -> bool:
    """Looked at as a whole: a long prompt would take Pydantic seconds, and a list of all that is
    wrong with it GBs."""
    return (
        type(value) is list
        and set(map(type, value)) == {int}
        and min(value) >= 0
        and max(value) < 2**31
    )


def _token_ids(value: Any, name_first_fault: Callable[[Any], Any]) -> Any:
    return value if are_token_ids(value) else name_first_fault(value)


TokenIds = Annotated[list[TokenId], Field(fail_fast=True), WrapValidator(_token_ids)]
Bias = Annotated[float, Field(ge=-100, le=100)]


GREEDY_BELOW = 1e-5  # temperature
SEED_HELP = (
    "Same seed, same text, on models served in float32, but for ties that rounding decides. In "
    "bfloat16 and float16 "
    "what else runs may change the text (the model's card says its type). Empty: a fresh one per "
    "item."
)


class Given(BaseModel):
    """What somebody sent, in which null means that a key was not given. Inside free-form values it
    stays."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        if not isinstance(data, dict) or None not in data.values():
            return data
        return {name: value for name, value in data.items() if value is not None}


class SamplingParams(Given):
    """How to decode: vLLM's and OpenAI's names. Every field is honoured by the engine or refused
    here.

    `temperature: 0` is greedy. `top_k: 0` keeps all tokens. Without `seed` each item gets one of
    its own, told in its result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_tokens: int = Field(
        256, ge=1, le=131_072, description="Most tokens to generate per continuation."
    )
    temperature: float = Field(1.0, ge=0, le=100, description="0 is greedy; higher is more random.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Keep the likeliest tokens whose probabilities add up to this."
    )
    top_k: int = Field(
        0, ge=0, le=2**31 - 1, description="Keep this many likeliest tokens; 0 keeps all."
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="Drop tokens less likely than this share of the likeliest."
    )
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description=SEED_HELP)
    n: int = Field(1, ge=1, le=128, description="Continuations per prompt.")
    stop: tuple[StopString, ...] = Field(
        (), max_length=16, fail_fast=True, description="Strings that end the text; not part of it."
    )
    repetition_penalty: float = Field(
        1.0, ge=0.01, le=10, description="Above 1 discourages tokens seen before."
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Lowers every token already generated, once."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="Lowers tokens by how often they were generated."
    )
    ignore_eos: bool = Field(
        False, description="Go on to max_tokens even when the model wants to end."
    )
    min_tokens: int = Field(
        0, ge=0, le=131_072, description="No end token before this many tokens."
    )
    typical_p: float = Field(
        1.0, gt=0, le=1, description="Keep the most typical tokens that hold this much probability."
    )
    stop_token_ids: tuple[TokenId, ...] = Field(
        (), max_length=64, fail_fast=True, description="Token ids that end the text."
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, le=64, description="No run of this many tokens twice; 0 allows all."
    )
    logit_bias: dict[TokenId, Bias] = Field(
        {}, max_length=300, description="Token id to what is added to its logit."
    )
    bad_words: tuple[StopString, ...] = Field(
        (), max_length=64, fail_fast=True, description="Words that are never generated."
    )
    logprobs: int | None = Field(
        None, ge=0, le=20, description="Log-probabilities, with this many alternatives each."
    )
    prompt_logprobs: int | None = Field(
        None, ge=0, le=20, description="The same for the tokens of the prompt."
    )

    @property
    def is_greedy(self) -> bool:
        """Dividing by a temperature this small overflows, and leaves nothing but the likeliest
        token long before."""
        return self.temperature < GREEDY_BELOW

    @model_validator(mode="before")
    @classmethod
    def _accept_json_shapes(cls, data: Any) -> Any:
        """`stop` may be one string; strict mode wants tuples and integer keys, which JSON has no
        spelling for."""
        if not isinstance(data, dict):
            return data
        data = {name: whole(value) if name in _INTEGERS else value for name, value in data.items()}
        for name in ("stop", "bad_words", "stop_token_ids"):
            if name in data:
                value = data[name]
                value = [value] if isinstance(value, str) else value
                data[name] = tuple(value) if isinstance(value, list) else value
        if isinstance(bias := data.get("logit_bias"), dict):
            data["logit_bias"] = {
                int(key) if isinstance(key, str) and key.isdecimal() else key: bias[key]
                for key in bias
            }
        return data


_INTEGERS = frozenset(
    name
    for name, field in SamplingParams.model_fields.items()
    if field.annotation in (int, int | None)
) | {"stop_token_ids"}


class Message(Given):
    """One chat message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


def _numbered(value: Any) -> Any:
    value = whole(value)
    return str(value) if type(value) is int else value


CustomId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    BeforeValidator(_numbered, json_schema_input_type=str | int),
]
MOST_JOB_METADATA = 16_384  # characters, of names and values together
# More than a job's: the columns of a table that are no prompt are kept so.
MOST_ITEM_METADATA = 65_536
Label = str | int | float | bool | None


def _at_most(characters: int) -> AfterValidator:
    def check(value: dict[str, Label]) -> dict[str, Label]:
        size = sum(len(name) + len(str(label)) for name, label in value.items())
        if size > characters:
            message = (
                f"has {size:,} characters, names and values together; it may have {characters:,}"
            )
            raise PydanticCustomError("refused", "{message}", {"message": message})
        return value

    return AfterValidator(check)


JobMetadata = Annotated[dict[str, Label], Field(max_length=16), _at_most(MOST_JOB_METADATA)]
ItemMetadata = Annotated[dict[str, Label], Field(max_length=16), _at_most(MOST_ITEM_METADATA)]
# OpenAI's bounds, for its dialect.
ShortName = Annotated[str, StringConstraints(max_length=64)]
ShortText = Annotated[str, StringConstraints(max_length=512)]
ShortMetadata = Annotated[
    dict[ShortName, ShortText | int | float | bool | None], Field(max_length=16)
]


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
