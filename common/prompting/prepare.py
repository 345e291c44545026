"""Makes the prompt of an item: cleans, cuts and renders what was given, in this order.

The web tier counts what this makes, and workers generate from what it makes of the same again: the
same item gives the same text, byte for byte. Pure; knows neither the store nor HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.errors import InvalidRequest
from common.params import SamplingParams
from common.prompting.cleaning import ORDER, Repair, clean
from common.prompting.template import Template, missing
from common.prompting.truncation import Tokens, truncate
from common.store.job_prep import JobPrep, Truncate
from common.structured.tool_prompt import Messages
from common.types import JsonObject

# Tokens that `fit` leaves for an answer whose max_tokens nobody gave.
ANSWER_TOKENS: int = SamplingParams.model_fields["max_tokens"].default


@dataclass(frozen=True, slots=True)
class Reading:
    """How the model reads a prompt, and how many tokens it takes. `chat` renders messages as the
    model reads them; `answer` is how many tokens the item is to have left for its answer.
    `most_characters` of a prompt may fit into the context, as far as that is known."""

    tokens: Tokens | None  # None where only the worker can count
    context: int
    chat: Callable[[Messages], str]
    answer: int = ANSWER_TOKENS
    most_characters: int | None = None

    def text(self, asked: str | Messages) -> str:
        return asked if isinstance(asked, str) else self.chat(asked)


def answer_tokens(texts: Sequence[str] | None, tokens: Tokens | None, max_tokens: int) -> int:
    """How many tokens an item is to have left behind its prompt: those of its longest continuation,
    or `max_tokens` if it has none."""
    if not texts or tokens is None:
        return max_tokens
    return max(tokens.count_batch([*texts], False))


@dataclass(frozen=True, slots=True)
class Cut:
    """What truncation did to one text."""

    before: str
    after: str


@dataclass(slots=True)
class Prepared:
    """What an item asks: `asked` as it is rendered, a prompt or messages, and `text` as the model
    reads it. `cleaned` are the steps that changed a variable or field, by its name."""

    asked: str | Messages
    text: str
    cleaned: dict[str, list[str]] = field(default_factory=dict)
    cut: Cut | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the model's special tokens are to be added: a rendered chat has them."""
        return isinstance(self.asked, str)


class Preparation:
    """How the prompts of one job are made; read once for all its items."""

    def __init__(self, prep: JobPrep):
        """
        Raises:
            InvalidRequest: the template cannot be read, or what is to be truncated is not clear.
            KeyError: a step of cleaning that is not known here.
        """
        self.template = Template.parse(prep["template"]) if "template" in prep else None
        self._steps = tuple(prep.get("clean", ()))
        if unknown := next((step for step in self._steps if step not in ORDER), None):
            raise KeyError(f"clean: {unknown}")
        self._truncate = prep.get("truncate")
        self._variable = _truncated(self._truncate, self.template) if self._truncate else None

    @classmethod
    def of(cls, prep: JobPrep) -> Preparation | None:
        """None for a job whose prompts are used as they are."""
        asks = prep.get("template") or prep.get("clean") or prep.get("truncate")
        return cls(prep) if asks else None

    @property
    def truncates(self) -> bool:
        return self._truncate is not None

    def prepare(self, item: Mapping[str, Any], reading: Reading) -> Prepared:
        """The prompt of an item, of which `vars`, or else `prompt` or `messages`, are read.

        Raises:
            InvalidRequest: a variable has no value, the chat cannot be rendered, or nothing can be
            cut to make it fit.
        """
        source: _Source
        if self.template is not None:
            source = _Variables(self.template, item.get("vars") or {})
        elif "prompt" in item:
            source = _Prompt(item["prompt"])
        elif "messages" in item:
            source = _Chat(item["messages"])
        else:
            message = "clean and truncate are for text; send prompt in place of prompt_ids"
            raise InvalidRequest(message, code="invalid_value", field="prompt_ids")
        cleaned = self._clean(source)
        cut = None
        if self._truncate is not None:
            cut = _cut(source, self._variable, self._truncate, reading)
        if reading.most_characters is not None:
            source.refuse_longer(reading.most_characters, reading.context)
        asked = source.asked()
        return Prepared(asked, reading.text(asked), cleaned, cut)

    def _clean(self, source: _Source) -> dict[str, list[str]]:
        changed: dict[str, list[str]] = {}
        if self._steps:
            repair = Repair()
            for name, text in source.texts.items():
                source.texts[name], steps = clean(text, self._steps, repair)
                if steps:
                    changed[name] = steps
        source.check()
        return changed


class _Source:
    """What a prompt is made of: `texts` by name, which are cleaned and cut."""

    texts: dict[str, str]

    def check(self) -> None:
        """Raise `InvalidRequest` if cleaning left nothing of what is needed."""

    def last(self) -> str:
        """The name of the text that is cut if none is named."""
        return next(reversed(self.texts))

    def refuse_longer(self, most: int, context: int) -> None:
        """Raise `InvalidRequest` if making the prompt is in vain: it has more characters than fit
        into the context."""

    def uses(self, name: str) -> int:  # noqa: ARG002  # each text but a template's is there once
        return 1

    def asked(self) -> str | Messages:
        raise NotImplementedError


class _Variables(_Source):
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


class _Prompt(_Source):
    def __init__(self, prompt: str):
        self.texts = {"prompt": prompt}

    def asked(self) -> str:
        return self.texts["prompt"]


class _Chat(_Source):
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


def _truncated(truncation: Truncate, template: Template | None) -> str | None:
    """The variable that is cut; None for the prompt, or the last message of a chat."""
    variable = truncation.get("variable")
    if template is None:
        if variable is not None:
            message = "truncate.variable names a variable, but the job has no template"
            raise InvalidRequest(message, code="invalid_value", field="truncate.variable")
        return None
    names = ", ".join(name[:64] for name in template.variables[:20]) or "none"
    if variable is None and len(template.variables) == 1:
        return template.variables[0]
    if variable is None:
        message = f"truncate must name the variable to cut: the template has {names}"
        raise InvalidRequest(message, code="missing_field", field="truncate.variable")
    if variable not in template.uses:
        message = (
            f"truncate.variable is {variable[:64]!r}, which the template does not use; it "
            f"has {names}"
        )
        raise InvalidRequest(message, code="invalid_value", field="truncate.variable")
    return variable


def _cut(
    source: _Source, variable: str | None, truncation: Truncate, reading: Reading
) -> Cut | None:
    """Cut one of the texts, where it is too long."""
    name = source.last() if variable is None else variable
    before, keep, to = source.texts[name], truncation.get("keep", "start"), truncation["to"]
    if reading.tokens is None:
        message = "truncate counts tokens, and only the model's worker can do that"
        raise InvalidRequest(message, code="invalid_value", field="truncate")
    tokens = reading.tokens

    def over_context(text: str) -> int:
        source.texts[name] = text
        asked = source.asked()
        plain = isinstance(asked, str)
        return tokens.count_batch([reading.text(asked)], plain)[0] - room

    def over_limit(text: str) -> int:
        # A prompt counts as the model reads it, a part of one as it is.
        return tokens.count_batch([text], name == "prompt")[0] - room

    if to == "fit":
        room, uses = reading.context - reading.answer, source.uses(name)
        after = truncate(before, room // uses, keep, tokens, over_context, uses)
        if after is None:
            raise _no_room(name, reading)
    else:
        room = to
        after = truncate(before, room, keep, tokens, over_limit) or ""
    source.texts[name] = after
    return Cut(before, after) if after != before else None


def too_long(context: int, length: int) -> str:
    return (
        f"This model's maximum context length is {context} tokens. However, your prompt has "
        f"{length} characters, which are more tokens than that. Please reduce its length."
    )


def _no_room(name: str, reading: Reading) -> InvalidRequest:
    message = (
        f"This model's maximum context length is {reading.context} tokens. However, "
        f"{reading.answer} of these are kept for the answer, and with the rest of the prompt no "
        f"room is left for {name[:64]}. Please reduce the length of the template, or max_tokens."
    )
    return InvalidRequest(message, code="context_length_exceeded", field="truncate")
