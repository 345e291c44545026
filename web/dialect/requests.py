"""Chat completions and completions as OpenAI's client sends them, and the job that each means.

The models have every field of the client's request types: honoured, or refused by `refusals.py`. Sampling settings of
ours that OpenAI lacks (`top_k`, `min_p`, …; the client's `extra_body`) stand beside the others, and so does vLLM's
`chat_template_kwargs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, WrapValidator, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from common.errors import InvalidRequest
from common.types import SamplingParams, ShortMetadata, TokenId, are_token_ids
from web.bodies import validated
from web.dialect import refusals
from web.schemas import Schema, TemplateKwargs, refuse

CHAT_MAX_TOKENS = 4096  # where none is given: long enough for answers to end by themselves
COMPLETION_MAX_TOKENS = 16  # OpenAI's own default
MOST_PROMPTS = 2048  # of one completions request

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]


@dataclass(frozen=True)
class Ask:
    """What rendering an answer needs to know of its request. Plain values, so that it can be kept with a job."""

    endpoint: Endpoint
    model: str
    n: int = 1
    echo: bool = False
    scored: bool = False  # max_tokens was 0: the one token that the engine cannot do without is not shown
    include_usage: bool = False  # in a last chunk of the stream
    metadata: dict[str, Any] | None = None


class StreamOptions(Schema):
    """Of a streaming request."""

    include_usage: bool = Field(False, description="A last chunk tells the usage.")
    include_obfuscation: bool = Field(False, description="Accepted; nothing is padded, which only OpenAI does.")


class TextPart(Schema):
    type: Literal["text"]
    text: str


class ChatMessage(Schema):
    """One message; a list of text parts is taken as their lines."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    annotations: Any = None
    audio: Any = None
    function_call: Any = None
    name: Any = None
    refusal: Any = None
    tool_calls: Any = None

    @field_validator("role", mode="before")
    @classmethod
    def _refuse_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise refuse("is not supported: tools are not supported")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text":
                raise refuse(
                    f"has a part of type {str(kind)[:32]!r}; only text is read here, no images, audio or files"
                )
        return "\n".join(TextPart.model_validate(part).text for part in content)

    @field_validator("annotations", "audio", "function_call", "name", "refusal", "tool_calls", mode="before")
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> Any:
        return refusals.check(str(info.field_name), value)

    def plain(self) -> dict[str, str]:
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class Completable(SamplingParams):
    """What both endpoints take."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    stream: bool = Field(False, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=512, description="Kept with the item.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    def check_together(self) -> None:
        """What no field can say alone.

        Raises:
            InvalidRequest: naming the field.
        """
        if self.stream_options and not self.stream:
            raise InvalidRequest("stream_options are for stream: true", field="stream_options")

    def _params(self, **changed: Any) -> dict[str, Any]:
        """The sampling settings that were given; `changed` are None where they are not wanted."""
        names = set(SamplingParams.model_fields) & self.model_fields_set
        given = self.model_dump(mode="json", include=names) | changed
        return {name: value for name, value in given.items() if value is not None}


class ChatRequest(Completable):
    """A request for a chat completion."""

    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    max_tokens: int = Field(CHAT_MAX_TOKENS, ge=1, le=131_072, description="Most tokens to generate; as far as fits.")
    max_completion_tokens: int | None = Field(None, ge=1, le=131_072, description="OpenAI's newer name of max_tokens.")
    logprobs: bool | None = Field(None, description="Tell each token's log-probability.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="And those of this many alternatives.")
    metadata: ShortMetadata | None = Field(
        None, description="Kept with the item and told in the answer; names of 64 characters, texts of 512."
    )
    safety_identifier: str | None = Field(None, max_length=512, description="Kept with the item.")
    prompt_cache_key: str | None = Field(None, description="Accepted; equal prefixes are reused whatever the key.")
    parallel_tool_calls: bool | None = Field(None, description="Accepted; there are no tools.")
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="Variables of the model's chat template, such as enable_thinking."
    )
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    service_tier: Any = None
    store: Any = None
    tool_choice: Any = None
    tools: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    @field_validator(
        "audio", "function_call", "functions", "modalities", "moderation", "prediction", "prompt_cache_options",
        "prompt_cache_retention", "reasoning_effort", "response_format", "service_tier", "store", "tool_choice",
        "tools", "verbosity", "web_search_options", mode="before",
    )  # fmt: skip
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> Any:
        return refusals.check(str(info.field_name), value)

    def check_together(self) -> None:
        super().check_together()
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true", field="top_logprobs")
        if self.max_completion_tokens not in (None, self.max_tokens) and "max_tokens" in self.model_fields_set:
            message = "max_tokens is the older name of max_completion_tokens; give one of them"
            raise InvalidRequest(message, field="max_tokens")

    @property
    def ask(self) -> Ask:
        usage = bool(self.stream_options and self.stream_options.include_usage)
        return Ask("/v1/chat/completions", self.model, self.n, include_usage=usage, metadata=self.metadata)

    def items(self) -> list[dict[str, Any]]:
        """The native items it means: one."""
        params = self._params(logprobs=(self.top_logprobs or 0) if self.logprobs else None)
        if self.max_completion_tokens is not None:
            params["max_tokens"] = self.max_completion_tokens
        labels = {"user": self.user, "safety_identifier": self.safety_identifier}
        metadata = {**(self.metadata or {}), **{name: label for name, label in labels.items() if label is not None}}
        item = {"messages": [message.plain() for message in self.messages], "params": params, "metadata": metadata}
        return [item | ({"chat_template_kwargs": self.chat_template_kwargs} if self.chat_template_kwargs else {})]


def _prompt(prompt: Any, _by_pydantic: Any) -> Any:
    """One message, where Pydantic would have one for each kind that it is not, and for each of a million ids."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt:
        raise refuse("must be text, a list of texts, token ids, or a list of lists of them, and not empty")
    kinds = set(map(type, prompt))
    if len(kinds) > 1:
        raise refuse("must be of one kind: texts, token ids, or lists of token ids")
    if kinds == {int} and not are_token_ids(prompt):
        raise refuse("must have token ids, whole numbers from 0 to 2147483647")
    if not kinds <= {str, int, list}:
        raise refuse("must have texts, token ids, or lists of token ids")
    if kinds <= {str, list} and len(prompt) > MOST_PROMPTS:
        raise refuse(f"has {len(prompt):,} prompts; one request takes {MOST_PROMPTS:,}, a job or a batch more")
    if kinds == {list} and not all(map(are_token_ids, prompt)):
        raise refuse("must have lists of token ids, whole numbers from 0 to 2147483647, and none empty")
    return prompt


class CompletionRequest(Completable):
    """A request for a completion of texts or token ids."""

    prompt: Annotated[str | list[str] | list[TokenId] | list[list[TokenId]], WrapValidator(_prompt)]
    max_tokens: int = Field(COMPLETION_MAX_TOKENS, ge=0, le=131_072, description="0 scores the prompt (with echo).")
    logprobs: int | None = Field(None, ge=0, le=20, description="Log-probabilities, with this many alternatives each.")
    echo: bool = Field(False, description="The text begins with the prompt; with logprobs, so do they.")
    best_of: int | None = Field(None, description="Only what n says.")
    suffix: Any = None

    @field_validator("suffix", mode="before")
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> Any:
        return refusals.check(str(info.field_name), value)

    def check_together(self) -> None:
        super().check_together()
        if self.best_of not in (None, self.n):
            raise InvalidRequest(f"best_of is not supported: {refusals.REFUSED['best_of'][1]}", field="best_of")
        if self.stream and self.echo and self.logprobs is not None:
            raise InvalidRequest("echo with logprobs cannot be streamed", field="stream")
        if self.max_tokens == 0 and not self.echo:
            message = "max_tokens of 0 leaves nothing to answer without echo: true"
            raise InvalidRequest(message, field="max_tokens")

    @property
    def ask(self) -> Ask:
        usage = bool(self.stream_options and self.stream_options.include_usage)
        scored = self.max_tokens == 0
        return Ask("/v1/completions", self.model, self.n, echo=self.echo, scored=scored, include_usage=usage)

    def items(self) -> list[dict[str, Any]]:
        """The native items it means: one for each prompt."""
        params = self._params()
        if self.echo and self.logprobs is not None:
            params["prompt_logprobs"] = self.logprobs
        if self.max_tokens == 0:
            params["max_tokens"] = 1  # the engine's shortest answer
        metadata = {"user": self.user} if self.user is not None else {}
        return [{**prompt, "params": params, "metadata": metadata} for prompt in self._prompts()]

    def _prompts(self) -> list[dict[str, Any]]:
        if isinstance(self.prompt, str):
            return [{"prompt": self.prompt}]
        if isinstance(self.prompt[0], int):
            return [{"prompt_ids": self.prompt}]
        return [{"prompt": each} if isinstance(each, str) else {"prompt_ids": each} for each in self.prompt]


REQUESTS: dict[Endpoint, type[ChatRequest] | type[CompletionRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}


def read_request(endpoint: Endpoint, body: Any) -> ChatRequest | CompletionRequest:
    """The body as the endpoint's request.

    Raises:
        InvalidRequest: with all that is wrong, each with its field.
    """
    request = validated(REQUESTS[endpoint], body)
    request.check_together()
    return request


def default_max_tokens(endpoint: Endpoint) -> int:
    """What an item of the endpoint may generate where its request names no number."""
    return CHAT_MAX_TOKENS if endpoint == "/v1/chat/completions" else COMPLETION_MAX_TOKENS
