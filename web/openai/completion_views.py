"""Chat completions and completions on the wire, whole and as the chunks of a stream: what
`answers.py` makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from web.schemas.answers import LogprobView, Usage

Reason = Literal["stop", "length"]
Effective = Annotated[
    dict[str, Any] | None,
    Field(description="Settings that took effect otherwise than they were sent, such as a seed."),
]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenLogprobView(_Answer):
    token: str
    logprob: float | None = Field(description="Null for a prompt's first token.")
    bytes: list[int]


class ChatLogprobView(TokenLogprobView):
    top_logprobs: list[TokenLogprobView]


class ChatLogprobs(_Answer):
    content: list[ChatLogprobView]
    refusal: None


class ChatMessageView(_Answer):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(_Answer):
    index: int
    message: ChatMessageView
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class _Completed(_Answer):
    id: str
    created: int
    model: str
    usage: Usage
    system_fingerprint: None
    params: Effective = None


class ChatCompletion(_Completed):
    """A chat's answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    prompt_logprobs: list[LogprobView] | None = Field(
        None, description="Where they were asked for."
    )
    metadata: dict[str, Any] | None = Field(None, description="The request's, if it had any.")


class CompletionLogprobs(_Answer):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Answer):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason
    prompt_logprobs: list[LogprobView] | None = Field(
        None, description="Where they were asked for without `echo`."
    )


class Completion(_Completed):
    """A completion's answer: `n` choices for each prompt, in order."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class _Chunk(_Answer):
    id: str
    created: int
    model: str
    usage: Usage | None = Field(
        None, description="Of a last chunk without choices, or of all, if it was asked for."
    )
    system_fingerprint: None
    params: Effective = None


class Delta(_Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(_Answer):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None


class ChatChunk(_Chunk):
    """One event of a chat's stream."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


class CompletionChunkChoice(_Answer):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason | None


class CompletionChunk(_Chunk):
    """One event of a completion's stream."""

    object: Literal["text_completion"]
    choices: list[CompletionChunkChoice]
