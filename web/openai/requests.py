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
    Field,
    JsonValue,
    WrapValidator,
)

from common.errors import InvalidRequest
from common.given import refuse
from common.params import TokenId, are_token_ids
from common.stored_item import StoredItem
from common.types import JsonObject
from web.openai.answer_options import CHAT, COMPLETIONS, AnswerOptions, Endpoint
from web.openai.generation_request import GenerationRequest
from web.openai.messages import ChatMessage
from web.openai.tools import ToolChoice, Tools, stored_tools
from web.schemas.base import TemplateKwargs
from web.schemas.fields import ShortMetadata

CHAT_MAX_TOKENS = 4096  # by default: long enough for answers to end by themselves
COMPLETION_MAX_TOKENS = 16  # OpenAI's own default
MOST_PROMPTS = 2048  # of one completions request


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

    tools: Tools | None = Field(None, description="Functions that the answer may call.")
    tool_choice: ToolChoice | None = Field(
        None,
        description="none: tools are left out; auto: the answer may call them or be text; "
        "required: it calls at least one; or the function that it calls, once.",
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several calls; by default it may."
    )
    include_reasoning: bool = Field(
        True, description="vLLM's: return the thoughts of a thinking model."
    )
    thinking_token_budget: int | None = Field(
        None, ge=0, le=131_072, description="vLLM's name of thinking.max_tokens."
    )

    def check_together(self) -> None:
        super().check_together()
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true", field="top_logprobs")
        if self.thinking is not None and self.thinking_token_budget is not None:
            message = "thinking and thinking_token_budget each limit the thoughts; give one"
            raise InvalidRequest(message, code="invalid_value", field="thinking_token_budget")
        _ = self.tool_set

    @cached_property
    def tool_set(self) -> JsonObject | None:
        """The tools as items keep them.

        Raises:
            InvalidRequest: they do not fit together.
        """
        return stored_tools(self.tools, self.tool_choice, self.parallel_tool_calls)

    @property
    def names(self) -> dict[str, str]:
        newer = (
            dict.fromkeys(("params.max_tokens", "max_tokens"), "max_completion_tokens")
            if self.max_completion_tokens is not None
            else {}
        )
        for place in range(len(self.tools or ())):
            newer[f"tools.functions.{place}"] = f"tools.{place}.function"
        if self.thinking_token_budget is not None:
            newer["params.thinking"] = "thinking_token_budget"
        return (
            super().names
            | newer
            | {
                "context_length_exceeded": "messages",
                "prompt": "messages",
                "params.logprobs": "top_logprobs",
            }
        )

    @cached_property
    def answer_options(self) -> AnswerOptions:
        return self._answer_options(
            CHAT, metadata=self.metadata, tools=self.tool_set, reasoning=self.include_reasoning
        )

    def items(self) -> list[StoredItem]:
        """The items of the job: one."""
        params = self._params(logprobs=(self.top_logprobs or 0) if self.logprobs else None)
        if self.max_completion_tokens is not None:
            params["max_tokens"] = self.max_completion_tokens
        if self.thinking_token_budget is not None:
            params["thinking"] = {"max_tokens": self.thinking_token_budget}
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
        if self.tool_set:
            item["tools"] = self.tool_set
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
        super().check_together()
        if self.stream and self.echo and self.logprobs is not None:
            raise InvalidRequest("echo with logprobs cannot be streamed", field="stream")
        if self.max_tokens == 0 and not self.echo:
            message = "max_tokens of 0 leaves nothing to answer without echo: true"
            raise InvalidRequest(message, field="max_tokens")

    @property
    def names(self) -> dict[str, str]:
        return super().names | {
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
