"""The prompts of a job's items: the text that the model will read, and how many tokens it has.

Workers make the same texts again, with the same function (`common/prompting/prepare.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common.errors import InvalidRequest
from common.prompting.prepare import Preparation, Prepared, Reading, answer_tokens
from common.prompting.sources import too_long
from common.prompting.template import Template
from common.stored_item import StoredItem
from common.structured.tool_prompt import Messages
from common.structured.tools import ToolSet
from common.types import JsonObject
from web.intake.counting import PatientTokens, count_tokens, is_too_long, most_characters
from web.intake.faults import Fault
from web.intake.preparation import prep_of
from web.schemas.requests import Item, JobOptions
from web.services.models import Model


@dataclass(slots=True)
class Asked:
    """What an item asks. `text` is what the model will read, None where so many token `ids` were
    sent; `is_plain` if the model's special tokens are added to it. `prepared` says what became of
    the item's texts, where the job changes them."""

    text: str | None
    is_plain: bool
    ids: int | None = None
    prepared: Prepared | None = None


class Prompts:
    """Makes the prompts of one job. `rendered_at` is the time that chat templates are given, in
    unix seconds."""

    def __init__(self, model: Model, options: JobOptions, rendered_at: int):
        """
        Raises:
            InvalidRequest: the job's template cannot be read, or the model cannot do what is asked.
        """
        self._model = model
        self._options = options
        self._rendered_at = rendered_at
        self.any_thoughts = False  # whether an item is a chat of a model that thinks first
        self.preparation = Preparation.of(prep_of(options))
        template = self._template
        if template is not None and template.roles is not None and model.template is None:
            raise InvalidRequest(
                _no_chat_template(model, "a template of a prompt"),
                code="no_chat_template",
                field="template.messages",
            )
        if self.preparation and self.preparation.truncates and model.tokenizer is None:
            message = (
                f"truncate counts tokens, which only the worker of {model.card.id} can: it "
                "published no tokenizer"
            )
            raise InvalidRequest(message, code="invalid_value", field="truncate")

    @property
    def _template(self) -> Template | None:
        return self.preparation.template if self.preparation else None

    @cached_property
    def variables(self) -> tuple[str, ...] | None:
        """The names that the job's template uses; None without a template."""
        return self._template.variables if self._template else None

    def refuse_unknown(self, columns: Sequence[str]) -> None:
        """Raise `InvalidRequest` if the template uses a column that is none of these."""
        if self._template is not None:
            self._template.refuse_unknown(columns)

    def ask(self, item: Item) -> Asked:
        """
        Raises:
            Fault: the prompt cannot be made, or is sure not to fit into the model's context.
        """
        asked = self._ask(item)
        thinks = "thinking" in self._model.card.features
        self.any_thoughts = self.any_thoughts or (thinks and not asked.is_plain)
        text, tokenizer, context = asked.text, self._model.tokenizer, self._model.card.context
        if text is not None and tokenizer is not None and is_too_long(tokenizer, text, context):
            field = "prompt" if asked.is_plain else "messages"
            raise Fault("context_length_exceeded", field, too_long(context, len(text)))
        return asked

    def _ask(self, item: Item) -> Asked:
        kwargs = {**self._options.chat_template_kwargs, **(item.chat_template_kwargs or {})}
        if self.preparation is not None:
            return self._prepared(item, self.preparation, kwargs)
        if item.messages is not None:
            messages = [message.plain() for message in item.messages]
            return Asked(self._render(messages, kwargs, item.tools), is_plain=False)
        _refuse_without_chat(item, kwargs)
        if item.prompt_ids is not None:
            return Asked(None, is_plain=True, ids=len(item.prompt_ids))
        return Asked(item.prompt, is_plain=True)

    def _prepared(self, item: Item, preparation: Preparation, kwargs: Mapping[str, Any]) -> Asked:
        params = item.params
        own = params is not None and "max_tokens" in params.model_fields_set
        answer = params.max_tokens if params and own else self._options.params.max_tokens
        if preparation.truncates:
            answer = answer_tokens(item.continuations, self._tokens, answer)
        reading = Reading(
            self._tokens,
            self._model.card.context,
            lambda messages: self._render(messages, kwargs, item.tools),
            answer,
            most_characters(self._model.tokenizer, self._model.card.context),
        )
        try:
            prepared = preparation.prepare(_texts(item), reading)
        except InvalidRequest as error:
            raise Fault(error.code, error.field or "", error.message) from None
        if prepared.is_plain:
            _refuse_without_chat(item, kwargs)
        return Asked(prepared.text, prepared.is_plain, prepared=prepared)

    def _render(self, messages: Messages, kwargs: Mapping[str, Any], tools: ToolSet | None) -> str:
        if self._model.template is None:
            message = _no_chat_template(self._model, "a prompt")
            raise Fault("no_chat_template", "messages", message)
        try:
            functions = tools.stored()["functions"] if tools else ()
            return self._model.template.render(messages, dict(kwargs), self._rendered_at, functions)
        except InvalidRequest as error:
            raise Fault("chat_template_refused", "messages", error.message) from None

    @cached_property
    def _tokens(self) -> PatientTokens | None:
        tokenizer = self._model.tokenizer
        return PatientTokens(tokenizer) if tokenizer else None

    def counts(self, asked: Sequence[Asked]) -> list[int | None]:
        """The exact number of tokens of each prompt; None where only the worker can count. A
        rendered chat contains its special tokens; to plain text they are added."""
        counts = [each.ids for each in asked]
        if self._model.tokenizer is None:
            return counts
        for special in (True, False):
            texts = {
                place: each.text
                for place, each in enumerate(asked)
                if each.text is not None and each.is_plain is special
            }
            if texts:
                counted = count_tokens(self._model.tokenizer, list(texts.values()), special)
                for place, count in zip(texts, counted, strict=True):
                    counts[place] = count
        return counts

    def kept(self, asked: Asked) -> StoredItem:
        """What the store keeps of how the prompt was made, for workers and for people."""
        found: StoredItem = {}
        if cut := self.truncated_tokens(asked):
            found["truncated_tokens"] = cut
        if asked.prepared and asked.prepared.made:
            found["made"] = asked.prepared.made
        return found

    def truncated_tokens(self, asked: Asked) -> int:
        """How many tokens were cut away."""
        cut = asked.prepared and asked.prepared.cut
        if not cut or self._tokens is None:
            return 0
        before, after = self._tokens.count_batch([cut.before, cut.after], False)
        return max(1, before - after)


def _texts(item: Item) -> JsonObject:
    """What of an item a prompt is made of."""
    if item.prompt is not None:
        return {"prompt": item.prompt}
    if item.messages is not None:
        return {"messages": [message.plain() for message in item.messages]}
    return {"vars": item.vars or {}} if item.prompt_ids is None else {}


def _no_chat_template(model: Model, instead: str) -> str:
    return f"{model.card.id} has no chat template; send {instead} instead of messages"


def _refuse_without_chat(item: Item, kwargs: Mapping[str, Any]) -> None:
    """Raise `Fault` for what only a chat template can render."""
    for name, given in (("chat_template_kwargs", kwargs), ("tools", item.tools)):
        if given:
            message = (
                f"{name} are for items with messages: nothing else is rendered by a chat template"
            )
            raise Fault("invalid_value", name, message)
