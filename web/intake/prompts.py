"""The prompt of an item: the text that the model will read, and how many tokens it has."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import InvalidRequest
from web.intake.counting import count_tokens, is_too_long
from web.intake.faults import Fault, overflow
from web.schemas.requests import Item, JobOptions
from web.services.models import Model


def checked_text(item: Item, model: Model, options: JobOptions, rendered_at: int) -> str | None:
    """What the model will read; None where token ids were sent.

    Raises:
        Fault: it cannot be rendered, or is sure not to fit into the model's context.
    """
    text = _text(item, model, options, rendered_at)
    if text is None or model.tokenizer is None:
        return text
    context = model.card.context
    if is_too_long(model.tokenizer, text, context):
        what = (
            f"your prompt has {len(text)} characters, which are more tokens than that. "
            "Please reduce its length."
        )
        raise overflow(context, what, "prompt" if item.messages is None else "messages")
    return text


def _text(item: Item, model: Model, options: JobOptions, rendered_at: int) -> str | None:
    kwargs = {**options.chat_template_kwargs, **(item.chat_template_kwargs or {})}
    if item.messages is None:
        if kwargs:
            message = (
                "chat_template_kwargs are for items with messages: nothing else is "
                "rendered by a chat template"
            )
            raise Fault("invalid_value", "chat_template_kwargs", message)
        return item.prompt
    if model.template is None:
        message = f"{model.card.id} has no chat template; send a prompt instead of messages"
        raise Fault("no_chat_template", "messages", message)
    try:
        messages = [message.model_dump() for message in item.messages]
        return model.template.render(messages, kwargs, rendered_at)
    except InvalidRequest as error:
        raise Fault("chat_template_refused", "messages", error.message) from None


def token_counts(read: Sequence[tuple[Item, str | None]], model: Model) -> list[int | None]:
    """The exact number of tokens of each prompt, given with its text; None where only the worker
    can count. A rendered chat contains its special tokens; to plain text they are added."""
    counts = [None if item.prompt_ids is None else len(item.prompt_ids) for item, _ in read]
    if model.tokenizer is None:
        return counts
    for special in (True, False):
        texts = {
            place: text
            for place, (item, text) in enumerate(read)
            if text is not None and (item.prompt is not None) is special
        }
        if texts:
            counted = count_tokens(model.tokenizer, list(texts.values()), special)
            for place, count in zip(texts, counted, strict=True):
                counts[place] = count
    return counts
