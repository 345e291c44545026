"""The paths that vLLM's server has beside OpenAI's: `/tokenize`, `/detokenize` and
`/tokenizer_info`. They are answered at once, without the queue. Its `/health` is among the health
checks (`web/api/health.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from common.errors import InvalidRequest
from common.params import TokenId
from common.tokenizer import SHORT, Tokenizer
from web.auth import needs_tenant
from web.intake.counting import in_a_thread, is_too_long
from web.openai import field_rules
from web.openai.errors import OPENAI_SHAPE
from web.openai.messages import OTHER_FIELDS, ChatMessage
from web.openai.read_request import filtered
from web.openai.schemas import add_ignored_header, json_answer
from web.openai.tools import Tools, stored_tools
from web.schemas.base import Query, Schema, TemplateKwargs, either
from web.services.models import Model
from web.services.services import services
from web.wire.bodies import json_body, read_query, refuse_unread
from web.wire.description import described
from web.wire.error_answers import answer_errors

T = TypeVar("T")

MOST_TOKENS = 2**20  # of one request to detokenize

vllm = Blueprint("tokens", __name__)
vllm.before_request(refuse_unread)
answer_errors(vllm, OPENAI_SHAPE, "/tokenize", "/detokenize", "/tokenizer_info")


class TokenizeRequest(Schema):
    """A text, or a chat as the model's template renders it."""

    model_config = ConfigDict(
        json_schema_extra=OTHER_FIELDS | either("prompt", "messages", empty=())
    )

    model: str | None = Field(
        None, max_length=256, description="May be left out if the server knows only one."
    )
    prompt: str | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1, fail_fast=True)
    add_special_tokens: bool | None = Field(
        None,
        description=(
            "Add the special tokens that the model expects around a text; by default true for a "
            "prompt, false for messages."
        ),
    )
    return_token_strs: bool = Field(
        False, description="Return each token's name in the vocabulary, too."
    )
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="Variables of the chat template."
    )
    tools: Tools | None = Field(None, description="The functions that the chat has.")


class Tokenized(BaseModel):
    count: int
    max_model_len: int = Field(description="Maximum of tokens of prompt and answer together.")
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(Schema):
    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    model: str | None = Field(
        None, max_length=256, description="May be left out if the server knows only one."
    )
    tokens: list[TokenId] = Field(max_length=MOST_TOKENS, fail_fast=True)


class Detokenized(BaseModel):
    prompt: str


class OfModel(Query):
    model: str | None = Field(
        None, max_length=256, description="May be left out if the server knows only one."
    )


class TokenizerInfo(BaseModel):
    """Also has the special tokens, by their purpose (`eos_token`)."""

    model_config = ConfigDict(extra="allow")

    tokenizer_class: str
    chat_template: str | None
    model_max_length: int
    vocab_size: int | None


RULES = {
    name: rule
    for name, rule in field_rules.CHAT.items()
    if name not in TokenizeRequest.model_fields
}


@vllm.post("/tokenize")
@described(
    "The tokens of a text, as vLLM's API has it", Tokenized, body=TokenizeRequest, errors=(404,)
)
@needs_tenant
def tokenize(_tenant: str) -> Response:
    asked, filter_ = filtered(TokenizeRequest, RULES, json_body(), lenient=_lenient())
    if (asked.prompt is None) == (asked.messages is None):
        raise InvalidRequest(
            "give either prompt or messages, one of them", code="missing_field", field="prompt"
        )
    model = services().models.choose(asked.model)
    tokenizer, text = _tokenizer(model), _text(model, asked)
    if is_too_long(tokenizer, text, model.card.context):
        message = (
            f"This model's maximum context length is {model.card.context} tokens. However, "
            "your text has more"
        )
        field = "prompt" if asked.messages is None else "messages"
        raise InvalidRequest(message, code="context_length_exceeded", field=field)
    special = (
        asked.messages is None if asked.add_special_tokens is None else asked.add_special_tokens
    )

    def encode() -> tuple[list[int], list[str] | None]:
        (ids,) = tokenizer.encode_batch([text], special)
        return ids, [tokenizer.name(token) for token in ids] if asked.return_token_strs else None

    ids, names = _in_time(len(text), encode)
    found = Tokenized(
        count=len(ids), max_model_len=model.card.context, tokens=ids, token_strs=names
    )
    return add_ignored_header(json_answer(found), filter_.ignored)


@vllm.post("/detokenize")
@described(
    "The text of tokens, as vLLM's API has it", Detokenized, body=DetokenizeRequest, errors=(404,)
)
@needs_tenant
def detokenize(_tenant: str) -> Response:
    asked, filter_ = filtered(
        DetokenizeRequest, {}, json_body({"tokens": MOST_TOKENS}), lenient=_lenient()
    )
    tokenizer = _tokenizer(services().models.choose(asked.model))
    text = _in_time(len(asked.tokens), lambda: tokenizer.decode(asked.tokens))
    return add_ignored_header(json_answer(Detokenized(prompt=text)), filter_.ignored)


@vllm.get("/tokenizer_info")
@described(
    "About a model's tokenizer, as vLLM's API has it",
    TokenizerInfo,
    query=OfModel,
    errors=(404,),
)
@needs_tenant
def tokenizer_info(_tenant: str) -> Response:
    model = services().models.choose(read_query(OfModel).model)
    card = model.card
    info = {
        **card.special_tokens,
        "tokenizer_class": type(_tokenizer(model)).__name__,
        "chat_template": card.chat_template,
        "model_max_length": card.context,
        "vocab_size": card.vocabulary,
    }
    return json_answer(TokenizerInfo.model_validate(info))


def _lenient() -> bool:
    return services().settings.unknown_fields != "refuse"


def _tokenizer(model: Model) -> Tokenizer:
    if model.tokenizer is None:
        message = f"the tokenizer of {model.card.id} is known to its workers only"
        raise InvalidRequest(message, code="no_tokenizer", field="model")
    return model.tokenizer


def _text(model: Model, asked: TokenizeRequest) -> str:
    if asked.messages is None:
        for name in ("chat_template_kwargs", "tools"):
            if getattr(asked, name):
                message = f"{name} are for messages: nothing else is rendered by a chat template"
                raise InvalidRequest(message, code="invalid_value", field=name)
        return asked.prompt or ""
    if model.template is None:
        message = f"{model.card.id} has no chat template; send a prompt instead of messages"
        raise InvalidRequest(message, code="no_chat_template", field="messages")
    try:
        return model.template.render(
            [message.plain() for message in asked.messages],
            asked.chat_template_kwargs or {},
            tools=(stored_tools(asked.tools, None, None) or {}).get("functions", ()),
        )
    except InvalidRequest as error:
        raise InvalidRequest(
            error.message, code="chat_template_refused", field="messages"
        ) from None


def _in_time(size: int, work: Callable[[], T]) -> T:
    """Run `work` on so many characters or tokens: in a thread if they are many, so that other
    requests are served meanwhile."""
    return work() if size <= SHORT else in_a_thread(size, work)
