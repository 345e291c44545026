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
from common.prompting.sources import (
    ChatSource,
    PromptSource,
    Source,
    VariablesSource,
)
from common.prompting.template import Template
from common.prompting.truncation import Tokens, truncate
from common.store.job_prep import JobPrep, Truncate
from common.structured.tool_prompt import Messages

# Characters of an item's texts: what is made of longer ones is stored with the item. Workers would
# take up to 6 µs for each to make it again, and their next turn would wait for that.
LONG = 2**14
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
    reads it. `cleaned` are the steps that changed a variable or field, by its name; `made` are the
    cleaned and cut texts by name, where it took long to make them."""

    asked: str | Messages
    text: str
    cleaned: dict[str, list[str]] = field(default_factory=dict)
    cut: Cut | None = None
    made: dict[str, str] | None = None

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
    def changes(self) -> bool:
        """Whether texts are cleaned or cut."""
        return bool(self._steps) or self.truncates

    @property
    def truncates(self) -> bool:
        return self._truncate is not None

    def prepare(self, item: Mapping[str, Any], reading: Reading) -> Prepared:
        """The prompt of an item, of which `vars`, or else `prompt` or `messages`, are read, and
        `made` is used where it is there.

        Raises:
            InvalidRequest: a variable has no value, the chat cannot be rendered, or nothing can be
            cut to make it fit.
        """
        source: Source
        if self.template is not None:
            source = VariablesSource(self.template, item.get("vars") or {})
        elif "prompt" in item:
            source = PromptSource(item["prompt"])
        elif "messages" in item:
            source = ChatSource(item["messages"])
        else:
            message = "clean and truncate are for text; send prompt in place of prompt_ids"
            raise InvalidRequest(message, code="invalid_value", field="prompt_ids")
        if made := item.get("made"):
            source.texts = dict(made)
            asked = source.asked()
            return Prepared(asked, reading.text(asked))
        is_long = sum(map(len, source.texts.values())) > LONG
        cleaned = self._clean(source)
        cut = None
        if self._truncate is not None:
            cut = _cut(source, self._variable, self._truncate, reading)
        if reading.most_characters is not None:
            source.refuse_longer(reading.most_characters, reading.context)
        asked = source.asked()
        made = source.texts if is_long and self.changes else None
        return Prepared(asked, reading.text(asked), cleaned, cut, made)

    def _clean(self, source: Source) -> dict[str, list[str]]:
        changed: dict[str, list[str]] = {}
        if self._steps:
            repair = Repair()
            for name, text in source.texts.items():
                source.texts[name], steps = clean(text, self._steps, repair)
                if steps:
                    changed[name] = steps
        source.check()
        return changed


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
    source: Source, variable: str | None, truncation: Truncate, reading: Reading
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


def _no_room(name: str, reading: Reading) -> InvalidRequest:
    message = (
        f"This model's maximum context length is {reading.context} tokens. However, "
        f"{reading.answer} of these are kept for the answer, and with the rest of the prompt no "
        f"room is left for {name[:64]}. Please reduce the length of the template, or max_tokens."
    )
    return InvalidRequest(message, code="context_length_exceeded", field="truncate")
