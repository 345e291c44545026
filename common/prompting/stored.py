"""The text that a model reads of an item as it is stored: for workers, and for people who want to
see it."""

from __future__ import annotations

from dataclasses import dataclass

from common.chat_template import ChatTemplate
from common.errors import InvalidRequest
from common.prompting.prepare import Preparation, Prepared, Reading, answer_tokens
from common.prompting.truncation import Tokens
from common.store.job_spec import JobSpec
from common.store.rows import effective_template_kwargs
from common.stored_item import StoredItem
from common.structured.tool_prompt import Messages, ToolFormat


@dataclass(frozen=True, slots=True)
class StoredPrompts:
    """Makes the texts that one model reads, as the web tier made them to count them."""

    tokens: Tokens | None
    template: ChatTemplate | None
    context: int  # tokens

    @property
    def tool_format(self) -> ToolFormat:
        """How the model writes calls of functions."""
        return self.template.tool_traits.format if self.template else "generic"

    def text(
        self, item: StoredItem, spec: JobSpec, preparation: Preparation | None, max_tokens: int
    ) -> tuple[str, bool]:
        """The text, and whether the model's special tokens are to be added to it; for items without
        `prompt_ids`. `max_tokens` are those of the item's params.

        Raises:
            InvalidRequest: it cannot be made of this item.
        """
        if preparation is not None:
            prepared = self.prepared(item, spec, preparation, max_tokens)
            return prepared.text, prepared.is_plain
        if "prompt" in item:
            return item["prompt"], True
        return self._render(item["messages"], item, spec), False

    def prepared(
        self, item: StoredItem, spec: JobSpec, preparation: Preparation, max_tokens: int
    ) -> Prepared:
        """The same, with what the item asks before a chat is rendered."""

        def chat(messages: Messages) -> str:
            return self._render(messages, item, spec)

        if preparation.truncates:
            max_tokens = answer_tokens(item.get("continuations"), self.tokens, max_tokens)
        return preparation.prepare(item, Reading(self.tokens, self.context, chat, max_tokens))

    def _render(self, messages: Messages, item: StoredItem, spec: JobSpec) -> str:
        if self.template is None:
            raise InvalidRequest(
                "the model has no chat template; send `prompt` instead of `messages`",
                code="no_chat_template",
            )
        kwargs = effective_template_kwargs(spec, item)
        functions = item.get("tools", {}).get("functions", ())
        return self.template.render(messages, kwargs, spec.get("rendered_at"), functions)
