"""Chat completions and completions as OpenAI's client sends them, and the job that each means.

The models have the fields that are honoured; what else a request may have is in `refusals.py`.
Sampling settings of ours that OpenAI lacks (`top_k`, `min_p`, …; the client's `extra_body`) stand
beside the others, and so does vLLM's `chat_template_kwargs`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    WithJsonSchema,
    WrapValidator,
    field_validator,
)

from common.errors import InvalidRequest
from common.params import SamplingParams, TokenId, are_token_ids
from web.intake.validation_messages import MOST_FAULTS, M, validated
from web.openai import refusals
from web.openai.ignored_fields import Once, Sift
from web.schemas.base import Schema, TemplateKwargs, refuse
from web.schemas.fields import ShortMetadata

CHAT_MAX_TOKENS = 4096  # where none is given: long enough for answers to end by themselves
COMPLETION_MAX_TOKENS = 16  # OpenAI's own default
MOST_PROMPTS = 2048  # of one completions request

# In the specification: some are ignored, by name.
OTHER_FIELDS: dict[str, Any] = {"additionalProperties": True}

log = logging.getLogger(__name__)
say_once = Once(
    lambda name: log.info("%r changes nothing here and is ignored; this is said once", name)
)

Endpoint = Literal["/v1/chat/completions", "/v1/completions"]


@dataclass(frozen=True)
class Ask:
    """What rendering an answer needs to know of its request. Plain values, so that it can be kept
    with a job."""

    endpoint: Endpoint
    model: str
    n: int = 1
    echo: bool = False
    # max_tokens was 0: the one token that the engine cannot do without is not shown.
    scored: bool = False
    include_usage: bool = False  # in a last chunk of the stream
    continuous_usage: bool = False  # in every chunk
    metadata: dict[str, Any] | None = None
    ignored: tuple[str, ...] = ()  # fields that changed nothing
    # Settings that take effect otherwise than they were sent.
    adapted: dict[str, Any] = field(default_factory=dict)


class StreamOptions(Schema):
    """Of a streaming request."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    include_usage: bool = Field(False, description="A last chunk tells the usage.")
    continuous_usage_stats: bool = Field(
        False, description="vLLM's: every chunk tells the usage so far."
    )


class TextPart(Schema):
    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    type: Literal["text"]
    text: str


TEXT_PART = TextPart.model_json_schema()


class ChatMessage(Schema):
    """One message; a list of text parts is taken as their lines."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]})
    ]

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
                    f"has a part of type {str(kind)[:32]!r}; only text is read here, no images, "
                    "audio or files"
                )
        return "\n".join(TextPart.model_validate(part).text for part in content)

    def plain(self) -> dict[str, str]:
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content,
        }


class Completable(SamplingParams):
    """What both endpoints take."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    stream: bool = Field(False, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=512, description="Kept with the item.")

    _sift: Sift = PrivateAttr(default_factory=lambda: Sift(lenient=False))

    def remember(self, sift: Sift) -> None:
        """What was taken out of the request before it was read."""
        self._sift = sift

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fields that were given and changed nothing, by their paths without indices."""
        return self._sift.ignored

    def check_together(self) -> None:
        """What no field can say alone.

        Raises:
            InvalidRequest: naming the field.
        """

    @property
    def names(self) -> dict[str, str]:
        """What the client calls a field of the item, by its path, or what is at fault, by the
        error's code."""
        return {}

    def _ask(self, endpoint: Endpoint, **more: Any) -> Ask:
        options = self.stream_options if self.stream else None
        return Ask(
            endpoint,
            self.model,
            self.n,
            include_usage=bool(options and options.include_usage),
            continuous_usage=bool(options and options.continuous_usage_stats),
            ignored=self._sift.ignored,
            adapted=self._sift.adapted,
            **more,
        )

    def _params(self, **changed: Any) -> dict[str, Any]:
        """The sampling settings that were given; `changed` are None where they are not wanted."""
        names = set(SamplingParams.model_fields) & self.model_fields_set
        given = self.model_dump(mode="json", include=names) | changed
        return {name: value for name, value in given.items() if value is not None}


class ChatRequest(Completable):
    """A request for a chat completion."""

    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    max_tokens: int = Field(
        CHAT_MAX_TOKENS, ge=1, le=131_072, description="Most tokens to generate; as far as fits."
    )
    max_completion_tokens: int | None = Field(
        None, ge=1, le=131_072, description="OpenAI's newer name of max_tokens."
    )
    logprobs: bool | None = Field(None, description="Tell each token's log-probability.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="And those of this many alternatives."
    )
    metadata: ShortMetadata | None = Field(
        None,
        description=(
            "Kept with the item and told in the answer; names of 64 characters, texts of 512."
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
    def ask(self) -> Ask:
        return self._ask("/v1/chat/completions", metadata=self.metadata)

    def items(self) -> list[dict[str, Any]]:
        """The native items it means: one."""
        params = self._params(logprobs=(self.top_logprobs or 0) if self.logprobs else None)
        if self.max_completion_tokens is not None:
            params["max_tokens"] = self.max_completion_tokens
        labels = {"user": self.user, "safety_identifier": self.safety_identifier}
        metadata = {
            **(self.metadata or {}),
            **{name: label for name, label in labels.items() if label is not None},
        }
        item = {
            "messages": [message.plain() for message in self.messages],
            "params": params,
            "metadata": metadata,
        }
        return [
            item
            | (
                {"chat_template_kwargs": self.chat_template_kwargs}
                if self.chat_template_kwargs
                else {}
            )
        ]


def _prompt(prompt: Any, _by_pydantic: Any) -> Any:
    """One message, where Pydantic would have one for each kind that it is not, and for each of a
    million ids."""
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


class CompletionRequest(Completable):
    """A request for a completion of texts or token ids."""

    prompt: Annotated[str | list[str] | list[TokenId] | list[list[TokenId]], WrapValidator(_prompt)]
    max_tokens: int = Field(
        COMPLETION_MAX_TOKENS, ge=0, le=131_072, description="0 scores the prompt (with echo)."
    )
    logprobs: int | None = Field(
        None, ge=0, le=20, description="Log-probabilities, with this many alternatives each."
    )
    echo: bool = Field(
        False, description="The text begins with the prompt; with logprobs, so do they."
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
    def ask(self) -> Ask:
        return self._ask("/v1/completions", echo=self.echo, scored=self.max_tokens == 0)

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
        return [
            {"prompt": each} if isinstance(each, str) else {"prompt_ids": each}
            for each in self.prompt
        ]


REQUESTS: dict[Endpoint, type[ChatRequest] | type[CompletionRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}


RULES: dict[Endpoint, Mapping[str, refusals.Rule]] = {
    "/v1/chat/completions": refusals.CHAT,
    "/v1/completions": refusals.COMPLETION,
}


def read_request(
    endpoint: Endpoint, body: Any, *, lenient: bool = False
) -> ChatRequest | CompletionRequest:
    """The body as the endpoint's request. Fields that change nothing are taken out, and named in
    its `ignored`; with `lenient` unknown ones, too.

    Raises:
        InvalidRequest: with all that is wrong, each with its field.
    """
    request, sift = sifted(REQUESTS[endpoint], RULES[endpoint], body, lenient=lenient)
    request.remember(sift)
    request.check_together()
    return request


def sifted(
    model: type[M], rules: Mapping[str, refusals.Rule], body: Any, *, lenient: bool
) -> tuple[M, Sift]:
    """The body as the model, after what changes nothing was taken out.

    Raises:
        InvalidRequest: with all that is wrong, each with its field.
    """
    sift = Sift(lenient)
    left = sift.request(body, rules, model.model_fields)
    errors = sift.faults
    try:
        request = validated(model, left)
    except InvalidRequest as error:
        errors = [*errors, *error.errors][:MOST_FAULTS]
    if errors:
        code = str(errors[0]["code"]) if len(errors) == 1 else None
        raise InvalidRequest(str(errors[0]["message"]), errors=errors, code=code)
    say_once(sift.ignored)
    return request, sift


def default_max_tokens(endpoint: Endpoint) -> int:
    """What an item of the endpoint may generate where its request names no number."""
    return CHAT_MAX_TOKENS if endpoint == "/v1/chat/completions" else COMPLETION_MAX_TOKENS
