"""Requests for chat completions and completions as OpenAI's client sends them, and the items of the
job that each becomes.

The models have the supported fields; what else a request may have is in `field_rules.py`. Decoding
parameters of ours that OpenAI lacks (`top_k`, `min_p`, …; the client's `extra_body`) stand beside
the others, and so does vLLM's `chat_template_kwargs`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    WrapValidator,
)

from common.errors import InvalidRequest
from common.given import refuse
from common.params import SamplingParams, TokenId, are_token_ids
from common.stored_item import StoredItem
from web.openai.answer_options import CHAT, COMPLETIONS, AnswerOptions, Endpoint
from web.openai.field_filter import FieldFilter
from web.openai.messages import OTHER_FIELDS, ChatMessage
from web.schemas.base import Schema, TemplateKwargs
from web.schemas.fields import ShortMetadata

CHAT_MAX_TOKENS = 4096  # by default: long enough for answers to end by themselves
COMPLETION_MAX_TOKENS = 16  # OpenAI's own default
MOST_PROMPTS = 2048  # of one completions request


class StreamOptions(Schema):
    """Options of a request with `stream: true`."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    include_usage: bool = Field(False, description="A last chunk has the usage.")
    continuous_usage_stats: bool = Field(
        False, description="vLLM's: every chunk has the usage so far."
    )


class GenerationRequest(SamplingParams):
    """The fields that both endpoints have."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    stream: bool = Field(False, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=512, description="Kept with the item.")

    _filter: FieldFilter = PrivateAttr(default_factory=lambda: FieldFilter(lenient=False))

    def set_filter(self, filter_: FieldFilter) -> None:
        """The filter that took fields out of the request, before it was validated."""
        self._filter = filter_

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fields that were given and had no effect, by their paths without indices."""
        return self._filter.ignored

    def check_together(self) -> None:
        """Check what concerns several fields.

        Raises:
            InvalidRequest: naming the field.
        """

    @property
    def names(self) -> dict[str, str]:
        """The client's name for a field of an item, by the field's path or by the error's code."""
        return {}

    def _answer_options(self, endpoint: Endpoint, **more: Any) -> AnswerOptions:
        options = self.stream_options if self.stream else None
        return AnswerOptions(
            endpoint,
            self.model,
            self.n,
            include_usage=bool(options and options.include_usage),
            continuous_usage=bool(options and options.continuous_usage_stats),
            ignored=self._filter.ignored,
            adapted=self._filter.adapted,
            **more,
        )

    def _params(self, **changed: Any) -> dict[str, JsonValue]:
        """The decoding parameters that were given, with `changed` ones; None takes one out."""
        names = set(SamplingParams.model_fields) & self.model_fields_set
        given = self.model_dump(mode="json", include=names) | changed
        return {name: value for name, value in given.items() if value is not None}


class ChatRequest(GenerationRequest):
    """A request for a chat completion."""

    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    max_tokens: int = Field(
        CHAT_MAX_TOKENS,
        ge=1,
        le=131_072,
        description="Maximum of tokens to generate; by default fewer if the context is full.",
    )
    max_completion_tokens: int | None = Field(
        None, ge=1, le=131_072, description="OpenAI's newer name of max_tokens."
    )
    logprobs: bool | None = Field(None, description="Return each token's log-probability.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="Return this many alternatives with each."
    )
    metadata: ShortMetadata | None = Field(
        None,
        description=(
            "Kept with the item and returned in the answer; names of at most 64 characters, "
            "texts of at most 512."
        ),
    )
    safety_identifier: str | None = Field(None, max_length=512, description="Kept with the item.")
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="Variables of the model's chat template, such as enable_thinking."
    )

    def check_together(self) -> None:
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true", field="top_logprobs")

    @property
    def names(self) -> dict[str, str]:
        newer = (
            {"params.max_tokens": "max_completion_tokens"}
            if self.max_completion_tokens is not None
            else {}
        )
        return newer | {
            "context_length_exceeded": "messages",
            "prompt": "messages",
            "params.logprobs": "top_logprobs",
        }

    @cached_property
    def answer_options(self) -> AnswerOptions:
        return self._answer_options(CHAT, metadata=self.metadata)

    def items(self) -> list[StoredItem]:
        """The items of the job: one."""
        params = self._params(logprobs=(self.top_logprobs or 0) if self.logprobs else None)
        if self.max_completion_tokens is not None:
            params["max_tokens"] = self.max_completion_tokens
        labels = {"user": self.user, "safety_identifier": self.safety_identifier}
        metadata: dict[str, JsonValue] = {
            **(self.metadata or {}),
            **{name: label for name, label in labels.items() if label is not None},
        }
        item: StoredItem = {
            "messages": [message.plain() for message in self.messages],
            "params": params,
            "metadata": metadata,
        }
        if self.chat_template_kwargs:
            item["chat_template_kwargs"] = self.chat_template_kwargs
        return [item]


def _prompt(prompt: Any, _by_pydantic: Any) -> Any:
    """Refuse with one message: Pydantic would give one for each type of the union, and for each of
    a million ids."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt:
        raise refuse(
            "must be text, a list of texts, token ids, or a list of lists of them, and not empty"
        )
    kinds = set(map(type, prompt))
    if len(kinds) > 1:
        raise refuse("must be of one kind: texts, token ids, or lists of token ids")
    if kinds == {int} and not are_token_ids(prompt):
        raise refuse("must have token ids, whole numbers from 0 to 2147483647")
    if not kinds <= {str, int, list}:
        raise refuse("must have texts, token ids, or lists of token ids")
    if kinds <= {str, list} and len(prompt) > MOST_PROMPTS:
        raise refuse(
            f"has {len(prompt):,} prompts; one request takes {MOST_PROMPTS:,}, a job or a batch "
            "more"
        )
    if kinds == {list} and not all(map(are_token_ids, prompt)):
        raise refuse(
            "must have lists of token ids, whole numbers from 0 to 2147483647, and none empty"
        )
    return prompt


class CompletionRequest(GenerationRequest):
    """A request for a completion of texts or token ids."""

    prompt: Annotated[str | list[str] | list[TokenId] | list[list[TokenId]], WrapValidator(_prompt)]
    max_tokens: int = Field(
        COMPLETION_MAX_TOKENS, ge=0, le=131_072, description="0 scores the prompt (with echo)."
    )
    logprobs: int | None = Field(
        None, ge=0, le=20, description="Log-probabilities, with this many alternatives each."
    )
    echo: bool = Field(
        False, description="Begin the text with the prompt, and logprobs with the prompt's."
    )

    def check_together(self) -> None:
        if self.stream and self.echo and self.logprobs is not None:
            raise InvalidRequest("echo with logprobs cannot be streamed", field="stream")
        if self.max_tokens == 0 and not self.echo:
            message = "max_tokens of 0 leaves nothing to answer without echo: true"
            raise InvalidRequest(message, field="max_tokens")

    @property
    def names(self) -> dict[str, str]:
        return {
            "context_length_exceeded": "prompt",
            "prompt_ids": "prompt",
            "params.prompt_logprobs": "logprobs"
            if self.prompt_logprobs is None
            else "prompt_logprobs",
        }

    @cached_property
    def answer_options(self) -> AnswerOptions:
        return self._answer_options(COMPLETIONS, echo=self.echo, scored=self.max_tokens == 0)

    def items(self) -> list[StoredItem]:
        """The items of the job: one for each prompt."""
        params = self._params()
        if self.echo and self.logprobs is not None:
            params["prompt_logprobs"] = self.logprobs
        if self.max_tokens == 0:
            params["max_tokens"] = 1  # the engine generates at least one
        metadata: dict[str, JsonValue] = {"user": self.user} if self.user is not None else {}
        return [{**prompt, "params": params, "metadata": metadata} for prompt in self._prompts()]

    def _prompts(self) -> list[StoredItem]:
        is_one = isinstance(self.prompt, str) or isinstance(self.prompt[0], int)
        prompts: list[Any] = [self.prompt] if is_one else [*self.prompt]
        return [
            {"prompt": each} if isinstance(each, str) else {"prompt_ids": each} for each in prompts
        ]


def default_max_tokens(endpoint: Endpoint) -> int:
    """The `max_tokens` of requests that have none."""
    return CHAT_MAX_TOKENS if endpoint == CHAT else COMPLETION_MAX_TOKENS
