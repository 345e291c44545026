"""The shapes of result rows, as the store makes them and the API shows them.

Items as they are stored are in `common/stored_item.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field, JsonValue
from typing_extensions import TypedDict


class SpelledToken(TypedDict):
    token: Annotated[str, Field(description="A part of a character is shown as escapes.")]
    token_id: int
    bytes: NotRequired[
        Annotated[
            list[int] | None,
            Field(description="What it adds to the text, where that is not `token` in UTF-8."),
        ]
    ]


class TopLogprob(SpelledToken):
    logprob: float


class TokenLogprob(SpelledToken):
    """A token, its log-probability (before temperature, penalties and filters), and the most likely
    tokens in its place."""

    logprob: Annotated[
        float | None,
        Field(description="Null for a prompt's first token: nothing comes before it."),
    ]
    top: list[TopLogprob]


class RowChoice(TypedDict):
    """One of the texts of `params.output.choice`."""

    text: str
    logprob: Annotated[float, Field(description="Of the whole text with its end.")]
    probability: Annotated[float, Field(description="Its share among the choices.")]


class RowOutput(TypedDict):
    """One continuation."""

    text: str
    finish_reason: str
    token_count: int
    logprobs: list[TokenLogprob] | None
    json_valid: NotRequired[bool]  # where the text is to be JSON
    reasoning: NotRequired[str]  # where thoughts are told apart from the text
    # Of `token_count`: those of the thoughts, with the marks around them.
    reasoning_tokens: NotRequired[int]
    choices: NotRequired[list[RowChoice]]  # where their probabilities are asked for


class RowContinuation(TypedDict, total=False):
    """One of an item's `continuations`, as the model scores it after the prompt; without a result
    only its text."""

    text: str
    logprob: Annotated[float, Field(description="The sum over its tokens.")]
    token_count: Annotated[
        int, Field(description="Its tokens, without the first where nothing comes before that.")
    ]
    logprobs: list[TokenLogprob] | None
    probability: Annotated[float, Field(description="Its share among the item's continuations.")]
    probability_per_token: Annotated[
        float, Field(description="The same with the mean log-probability of a token.")
    ]


class RowUsage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class RowError(TypedDict):
    code: str
    message: str


class Generated(TypedDict):
    """What was generated for an item."""

    outputs: list[RowOutput]
    usage: RowUsage
    continuations: NotRequired[list[RowContinuation]]


# Why an item that another worker began may have another text than one worker alone writes with the
# same seed: other kernels round otherwise from its checkpoint on, or an engine draws other random
# numbers from there on. `from_start`: that engine dropped the checkpoint and began anew.
ResumedOn = Literal["other_kernels", "other_draws", "from_start"]


class ItemResult(TypedDict, total=False):
    """What a worker handed in for an item."""

    outputs: list[RowOutput]
    usage: RowUsage
    prompt_logprobs: list[TokenLogprob] | None
    continuations: list[RowContinuation]
    error: RowError | None
    seed: int | None
    attempts: int
    queued_s: float | None
    run_s: float | None
    worker: str | None
    resumed_on: ResumedOn


class RowResult(Generated):
    """The state of an item, and its result; empty if there is none."""

    status: str
    prompt_logprobs: list[TokenLogprob] | None
    error: RowError | None
    seed: int | None


class Row(RowResult):
    """One item as users see it."""

    index: int
    custom_id: str | None
    params: dict[str, JsonValue]
    attempts: int
    queued_s: float | None
    run_s: float | None
    worker: str | None
    resumed_on: NotRequired[ResumedOn]
    model: str
    metadata: dict[str, JsonValue]


class ItemPrompt(TypedDict, total=False):
    """What an item asks. It has one of `prompt`, `prompt_ids` and `messages`."""

    prompt: str
    prompt_ids: list[int]
    messages: list[dict[str, JsonValue]]
    tools: dict[str, JsonValue]
    chat_template_kwargs: dict[str, JsonValue]


class Origin(TypedDict):
    """The item that another one tries again."""

    job: str
    index: int


class Beside(TypedDict, total=False):
    """What belongs to an item besides its input and its result."""

    vars: dict[str, JsonValue]
    reference: str | list[str]
    truncated_tokens: int
    origin: Origin
    retried_in: str  # the retry whose row this is
    scores: dict[str, float | None]  # of an evaluation, where there is one
    rendered: str | None  # the prompt as the model reads it, where it was asked for


class InputRow(Row, ItemPrompt, Beside):
    """A row with the input of its item."""
