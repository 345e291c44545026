"""The models of answers about items: results, with inputs and without, and their tokens."""

from __future__ import annotations

from pydantic import BaseModel, Field, JsonValue

from common.generation import FinishReason
from common.result_row import Origin, ResumedOn, RowChoice, RowContinuation, TokenLogprob
from common.structured.tools import ToolSet
from common.types import ItemState
from web.schemas.answers import ErrorEntry, Usage
from web.schemas.messages import ItemMessage


class OutputView(BaseModel):
    text: str
    finish_reason: FinishReason
    token_count: int
    logprobs: list[TokenLogprob] | None = Field(
        None, description="One for each generated token, if requested."
    )
    json_valid: bool | None = Field(
        None,
        description="Where `params.output` asks for JSON: whether `text` is complete JSON.",
    )
    reasoning: str | None = Field(
        None,
        description="What a thinking model wrote between `<think>` and `</think>`. `token_count` "
        "and `logprobs` include it.",
    )
    reasoning_tokens: int | None = Field(
        None, description="How many of `token_count` that is, with the marks around it."
    )
    choices: list[RowChoice] | None = Field(
        None, description="The texts of `params.output.choice`, if their probabilities are wanted."
    )


class ResultRow(BaseModel):
    """One item: its state, and when it is finished its result. Params and seed are those that took
    effect."""

    index: int
    custom_id: str | None
    status: ItemState
    outputs: list[OutputView]
    prompt_logprobs: list[TokenLogprob] | None = Field(
        None, description="One for each prompt token, if requested."
    )
    continuations: list[RowContinuation] | None = Field(
        None, description="The item's `continuations` with their scores."
    )
    usage: Usage
    error: ErrorEntry | None
    params: dict[str, JsonValue]
    seed: int | None
    attempts: int
    queued_s: float | None
    run_s: float | None
    worker: str | None
    resumed_on: ResumedOn | None = Field(
        None,
        description="It was interrupted, so its text may differ from what one worker writes with "
        "the same seed. `other_kernels`: it went on on another kind of processor. "
        "`other_draws`: the engine drew other random numbers from the checkpoint on. "
        "`from_start`: the engine dropped the checkpoint and generated the text anew.",
    )
    model: str
    metadata: dict[str, JsonValue] = {}


class ItemDelta(BaseModel):
    """New tokens of continuation `output` of an item, from its token `at` on."""

    index: int
    output: int
    at: int
    tokens: int = Field(description="Number of new tokens.")
    text: str
    logprobs: list[TokenLogprob] | None = Field(
        None, description="One for each token, if requested."
    )
    reasoning: str | None = Field(
        None, description="New text of the model's thoughts, where these are told apart."
    )


class ItemRow(ResultRow):
    """A result row with the input of the item."""

    prompt: str | None = None
    prompt_ids: list[int] | None = None
    messages: list[ItemMessage] | None = None
    tools: ToolSet | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    vars: dict[str, JsonValue] | None = Field(
        None, description="The item's columns, in the order of the input."
    )
    reference: str | list[str] | None = None
    truncated_tokens: int | None = Field(
        None, description="Tokens that were cut off, where any were."
    )
    origin: Origin | None = Field(None, description="The item that this one tries again.")
    scores: dict[str, float | None] | None = Field(
        None,
        description="Of the job's newest evaluation that is done, or of the one in `evaluation`. "
        "BLEU of an item by itself is `bleu_sentence`.",
    )
    rendered: str | None = Field(
        None, description="The prompt as the model reads it; with `include=prompt`."
    )


class ItemList(BaseModel):
    data: list[ItemRow]
    has_more: bool
    after: int | None = Field(description="Give this as `after` for the next page.")
    searched_to: int | None = Field(
        None,
        description=(
            "Where a search stopped because it took too long, though items are left: go on with "
            "`after`. Null if it looked at all, or found a whole page."
        ),
    )
