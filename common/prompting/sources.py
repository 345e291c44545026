"""What a prompt is made of: variables in a template, one text, or the messages of a chat."""

from __future__ import annotations

from abc import ABC, abstractmethod

from common.errors import InvalidRequest
from common.prompting.template import Template, missing
from common.structured.tool_prompt import Messages
from common.types import JsonObject


class Source(ABC):
    """What a prompt is made of: `texts` by name, which are cleaned and cut."""

    texts: dict[str, str]

    def check(self) -> None:  # noqa: B027  # not every kind needs something
        """Raise `InvalidRequest` if cleaning left nothing of what is needed."""

    def last(self) -> str:
        """The name of the text that is cut if none is named."""
        return next(reversed(self.texts))

    def refuse_longer(self, most: int, context: int) -> None:  # noqa: B027  # not every kind knows
        """Raise `InvalidRequest` if making the prompt is in vain: it has more characters than fit
        into the context."""

    def uses(self, name: str) -> int:  # noqa: ARG002  # each text but a template's is there once
        return 1

    @abstractmethod
    def asked(self) -> str | Messages: ...


class VariablesSource(Source):
    def __init__(self, template: Template, given: JsonObject):
        self._template = template
        self.texts = template.texts_of(given)

    def check(self) -> None:
        for name, text in self.texts.items():
            if not text:
                raise missing(name, "is empty here once it is cleaned")

    def refuse_longer(self, most: int, context: int) -> None:
        if self._template.roles is not None:  # a chat template may leave some of it out
            return
        length = self._template.length(self.texts)
        if length > most:
            message = too_long(context, length)
            raise InvalidRequest(message, code="context_length_exceeded", field="prompt")

    def uses(self, name: str) -> int:
        return self._template.uses[name]

    def asked(self) -> str | Messages:
        return self._template.render(self.texts)


class PromptSource(Source):
    def __init__(self, prompt: str):
        self.texts = {"prompt": prompt}

    def asked(self) -> str:
        return self.texts["prompt"]


class ChatSource(Source):
    """The messages of a chat; of these the user's last one is cut. One that only calls functions
    has no text."""

    def __init__(self, messages: Messages):
        self._messages = messages
        self.texts = {
            _content(at): message["content"]
            for at, message in enumerate(messages)
            if message.get("content") is not None
        }

    def last(self) -> str:
        asked = [at for at, message in enumerate(self._messages) if message["role"] == "user"]
        return _content(asked[-1]) if asked else super().last()

    def asked(self) -> Messages:
        return [
            {**message, "content": self.texts[_content(at)]}
            if _content(at) in self.texts
            else message
            for at, message in enumerate(self._messages)
        ]


def _content(at: int) -> str:
    return f"messages.{at}.content"


def too_long(context: int, length: int) -> str:
    return (
        f"This model's maximum context length is {context} tokens. However, your prompt has "
        f"{length} characters, which are more tokens than that. Please reduce its length."
    )
