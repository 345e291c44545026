"""Templates of prompts: a text, or the messages of a chat, with `{{name}}` for an item's variables.

Substitution only: no logic, and a variable's text is never expanded again. `{{{{` stands for a
literal `{{`; `}}` outside a variable is itself. Of messages only `content` is templated.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import InvalidRequest
from common.spelled import spelled
from common.store.job_prep import TemplateDict
from common.types import JsonObject

OPEN, CLOSE = "{{", "}}"
# Characters of a rendered prompt: a short template may name a long variable many times.
MOST_RENDERED = 2**24
MOST_PLACES = 1000  # of variables in a template: each takes time with each item
SHOWN = 64  # characters of a name in an error


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


def _shown(name: str) -> str:
    """A column's name as an error has it; with quotes where it would not be seen what it is."""
    short = name[:SHOWN]
    return (short if short == short.strip() else f"“{short}”") or "(no name)"


class TextTemplate:
    """One text of a template: literal pieces and variables, in order."""

    def __init__(self, source: str, field: str):
        """
        Raises:
            InvalidRequest: `invalid_template`, with `field`: a variable is not closed.
        """
        self.parts = tuple(_joined(_parts(source, field)))
        self._literal = sum(len(part) for part in self.parts if isinstance(part, str))

    def render(self, values: Mapping[str, str]) -> str:
        return "".join(part if isinstance(part, str) else values[part.name] for part in self.parts)

    def length(self, values: Mapping[str, str]) -> int:
        """Characters that `render` would make of the values."""
        return self._literal + sum(
            len(values[part.name]) for part in self.parts if isinstance(part, Variable)
        )


def _parts(source: str, field: str) -> Iterator[str | Variable]:
    at = 0
    while (begin := source.find(OPEN, at)) >= 0:
        if source.startswith(OPEN, begin + 2):
            yield source[at : begin + 2]
            at = begin + 4
            continue
        end = source.find(CLOSE, begin + 2)
        if end < 0:
            line = source.count("\n", 0, begin) + 1
            column = begin - source.rfind("\n", 0, begin)
            message = (
                f"the template's `{{{{` at line {line}, character {column} is not closed; write "
                "{{name}} for a variable, or {{{{ for a literal {{"
            )
            raise InvalidRequest(message, code="invalid_template", field=field)
        if begin > at:
            yield source[at:begin]
        yield Variable(source[begin + 2 : end].strip())
        at = end + 2
    if at < len(source):
        yield source[at:]


def _joined(parts: Iterator[str | Variable]) -> Iterator[str | Variable]:
    """The parts with one literal piece where several follow each other."""
    literal = ""
    for part in parts:
        if isinstance(part, str):
            literal += part
            continue
        if literal:
            yield literal
        literal = ""
        yield part
    if literal:
        yield literal


@dataclass(frozen=True, slots=True)
class Template:
    """A job's template. `variables` are the names that it uses, in order of first appearance;
    `uses` is how often it uses each."""

    texts: tuple[TextTemplate, ...]
    roles: tuple[str, ...] | None  # of the messages; None for a prompt
    variables: tuple[str, ...]
    uses: Mapping[str, int]

    @classmethod
    def parse(cls, source: TemplateDict) -> Template:
        """
        Raises:
            InvalidRequest: `invalid_template`, with the field: a variable is not closed, or it has
            too many.
        """
        if "messages" in source:
            messages = source["messages"]
            texts = tuple(
                TextTemplate(message["content"], f"template.messages.{place}.content")
                for place, message in enumerate(messages)
            )
            return cls._of(texts, tuple(message["role"] for message in messages))
        return cls._of((TextTemplate(source["prompt"], "template.prompt"),), None)

    @classmethod
    def _of(cls, texts: tuple[TextTemplate, ...], roles: tuple[str, ...] | None) -> Template:
        uses: dict[str, int] = {}
        for text in texts:
            for part in text.parts:
                if isinstance(part, Variable):
                    uses[part.name] = uses.get(part.name, 0) + 1
        if (places := sum(uses.values())) > MOST_PLACES:
            message = (
                f"the template has variables at {places:,} places; it may have {MOST_PLACES:,}"
            )
            raise InvalidRequest(message, code="invalid_template", field="template")
        return cls(texts, roles, tuple(uses), uses)

    def refuse_unknown(self, columns: Sequence[str]) -> None:
        """Raise `InvalidRequest` (`unknown_column`) if it uses a variable that is none of these."""
        known = frozenset(columns)
        if unknown := [name for name in self.variables if name not in known]:
            names = ", ".join(f"{{{{{name[:SHOWN]}}}}}" for name in unknown[:5])
            there = ", ".join(_shown(name) for name in columns[:20])[:300]
            message = f"the template names {names}, but the columns are: {there}"
            if spaced := [name for name in columns if name.strip() in unknown]:
                message += f"; rename {_shown(spaced[0])}: spaces around a name cannot be written"
            elif any(spelled(name) == spelled(unknown[0]) for name in columns[:200]):
                message += (
                    "; one of them looks the same, and its accents are encoded otherwise: copy the "
                    "column's own name"
                )
            elif near := _nearest(unknown[0], columns):
                message += f"; did you mean {_shown(near)}?"
            raise InvalidRequest(message, code="unknown_column", field="template")

    def length(self, values: Mapping[str, str]) -> int:
        """Characters that `render` would make of the values, in all messages."""
        return sum(text.length(values) for text in self.texts)

    def render(self, values: Mapping[str, str]) -> str | list[dict[str, str]]:
        """The prompt, or the messages, with these texts for the variables.

        Raises:
            InvalidRequest: `too_many_tokens`: it would be longer than any prompt may be.
        """
        length = self.length(values)
        if length > MOST_RENDERED:
            message = (
                f"the template makes a prompt of {length:,} characters of this item; one may have "
                f"{MOST_RENDERED:,}"
            )
            raise InvalidRequest(message, code="too_many_tokens", field="template")
        if self.roles is None:
            return self.texts[0].render(values)
        return [
            {"role": role, "content": text.render(values)}
            for role, text in zip(self.roles, self.texts, strict=True)
        ]

    def texts_of(self, given: JsonObject) -> dict[str, str]:
        """The text of each variable that the template uses.

        Raises:
            InvalidRequest: `missing_variable`, with the variable's field: it has no value, which is
            to be absent, null or empty.
        """
        return {name: text_of(name, given.get(name)) for name in self.variables}


def _nearest(name: str, columns: Sequence[str]) -> str | None:
    """The column whose name is most like this one, upper and lower case being the same."""
    by_name = {column.strip().lower()[:SHOWN]: column for column in reversed(columns[:200])}
    near = difflib.get_close_matches(name.lower()[:SHOWN], by_name, n=1, cutoff=0.7)
    return by_name[near[0]] if near else None


def text_of(name: str, value: Any) -> str:
    """A variable's value as text: text as it is, everything else as JSON.

    Raises:
        InvalidRequest: `missing_variable`: there is none.
    """
    if value is None or value == "":
        raise missing(name)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def missing(name: str, why: str = "has no value here") -> InvalidRequest:
    shown = name[:SHOWN]
    return InvalidRequest(
        f"the template uses {{{{{shown}}}}}, which {why}",
        code="missing_variable",
        field=f"vars.{shown}",
    )
