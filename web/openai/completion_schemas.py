"""The bodies of chat completions and completions, whole and as the chunks of a stream.

`rendering.py` builds them and `/openapi.json` describes them. They are dictionaries with typed
keys, because a stream makes one for each token.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, JsonValue, with_config
from typing_extensions import TypedDict

from common.result_row import RowUsage, TokenLogprob

FinishReason = Literal["stop", "length", "tool_calls"]
AdaptedParams = Annotated[
    dict[str, JsonValue],
    Field(description="Parameters that took effect with another value than was sent, as a seed."),
]
CLOSED = ConfigDict(extra="forbid")


@with_config(CLOSED)
class CompletionDetails(TypedDict):
    reasoning_tokens: Annotated[
        int, Field(description="Those of the thoughts, with the marks around them.")
    ]


class CompletionUsage(RowUsage):
    """Tokens of all prompts and all continuations."""

    completion_tokens_details: NotRequired[
        Annotated[CompletionDetails, Field(description="Of a model that thinks.")]
    ]


@with_config(CLOSED)
class ChatTopLogprob(TypedDict):
    token: str
    logprob: Annotated[float | None, Field(description="Null for a prompt's first token.")]
    bytes: list[int]


@with_config(CLOSED)
class ChatLogprob(ChatTopLogprob):
    top_logprobs: list[ChatTopLogprob]


@with_config(CLOSED)
class ChatLogprobs(TypedDict):
    content: list[ChatLogprob]
    refusal: None


@with_config(CLOSED)
class CalledFunction(TypedDict):
    name: str
    arguments: Annotated[str, Field(description="JSON, as text; cut off where the answer is.")]


@with_config(CLOSED)
class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


@with_config(CLOSED)
class AssistantMessage(TypedDict):
    role: Literal["assistant"]
    content: Annotated[str | None, Field(description="Null beside calls without text.")]
    refusal: None
    tool_calls: NotRequired[list[ToolCall]]
    reasoning_content: NotRequired[
        Annotated[str, Field(description="The thoughts of a thinking model.")]
    ]


@with_config(CLOSED)
class ChatChoice(TypedDict):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


@with_config(CLOSED)
class ChatCompletion(TypedDict):
    """The answer to a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    system_fingerprint: None
    params: NotRequired[AdaptedParams]
    prompt_logprobs: NotRequired[
        Annotated[list[TokenLogprob], Field(description="If they were requested.")]
    ]
    metadata: NotRequired[
        Annotated[dict[str, JsonValue], Field(description="The request's, if it had any.")]
    ]


@with_config(CLOSED)
class CompletionLogprobs(TypedDict):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


@with_config(CLOSED)
class CompletionChoice(TypedDict):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason
    prompt_logprobs: NotRequired[
        Annotated[
            list[TokenLogprob], Field(description="If they were requested, and `echo` was not.")
        ]
    ]


@with_config(CLOSED)
class Completion(TypedDict):
    """The answer to a completion request: `n` choices for each prompt, in order."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    system_fingerprint: None
    params: NotRequired[AdaptedParams]


@with_config(CLOSED)
class CalledFunctionDelta(TypedDict):
    name: NotRequired[str]
    arguments: str


@with_config(CLOSED)
class ToolCallDelta(TypedDict):
    """The first of a call has its id and name, the others more of its arguments."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: CalledFunctionDelta


@with_config(CLOSED)
class Delta(TypedDict):
    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCallDelta]]
    reasoning_content: NotRequired[str]


@with_config(CLOSED)
class ChatChunkChoice(TypedDict):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class _ChunkFields(TypedDict):
    id: str
    created: int
    model: str
    system_fingerprint: None
    usage: NotRequired[
        Annotated[
            CompletionUsage | None,
            Field(description="In a last chunk without choices, or in all, if it was requested."),
        ]
    ]
    params: NotRequired[AdaptedParams]


@with_config(CLOSED)
class ChatChunk(_ChunkFields):
    """One event of a chat's stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


@with_config(CLOSED)
class CompletionChunkChoice(TypedDict):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


@with_config(CLOSED)
class CompletionChunk(_ChunkFields):
    """One event of a completion's stream."""

    object: Literal["text_completion"]
    choices: list[CompletionChunkChoice]


Chunk = ChatChunk | CompletionChunk
ChunkChoice = ChatChunkChoice | CompletionChunkChoice
