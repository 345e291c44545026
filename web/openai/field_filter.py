"""Takes the fields without effect out of a request, before the request models validate the rest.

The answer names what was taken out. Null means that a field was not given. An
unknown name is an error, or in lenient mode taken out as well; a name that is nearly a known one is
an error in any case, because its value was meant to have an effect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import JsonValue

from common.errors import ErrorDict
from common.params import OTHER_NAMES
from web.intake.validation_messages import MOST_FAULTS, unknown_name
from web.openai import field_rules
from web.openai.field_rules import FieldRule, Inside

NEAR = 0.85  # similarity of two names from which on one is taken for a misspelling of the other
MOST_IGNORED = 100  # unknown names that one request may have in lenient mode
MOST_IN_HEADER = 20  # names
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")  # characters that a header may not have

# (field, a value with which clients ask for what we say otherwise, the fields instead)
ADAPTED: tuple[tuple[str, int, dict[str, JsonValue]], ...] = (
    ("seed", -1, {}),  # random: each item gets a seed of its own
    ("top_k", -1, {"top_k": 0}),  # all tokens
    ("top_p", 0, {"temperature": 0}),  # the most likely token
)


class FieldFilter:
    """Filters one request.

    `ignored` are the paths of fields that were taken out, without indices, each once; `faults` are
    entries of an error list; `adapted` are the parameters whose value was replaced, with the new
    value. A seed's is None: the worker draws it.
    """

    def __init__(self, lenient: bool):
        self._lenient = lenient
        self._ignored: dict[str, None] = {}
        self.adapted: dict[str, JsonValue] = {}
        self.faults: list[ErrorDict] = []

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    def filter(self, body: Any, rules: Mapping[str, FieldRule], supported: Iterable[str]) -> Any:
        """The fields of a request that its model supports. A body that is no object is returned
        unchanged, for the model to refuse."""
        if not isinstance(body, dict):
            return body
        kept = self._filter_object(body, rules, supported, "", "")
        self._filter_inside(kept, field_rules.INSIDE, "", "")
        return self._adapt(kept)

    def _filter_inside(
        self, kept: dict[str, JsonValue], inside: Mapping[str, Inside], place: str, path: str
    ) -> None:
        """Filter the objects inside one that was filtered itself."""
        for name in inside.keys() & kept.keys():
            each, value = inside[name], kept[name]
            if isinstance(value, list):
                kept[name] = [
                    self._filter_one(entry, each, f"{place}{name}.", f"{path}{name}.{n}.")
                    for n, entry in enumerate(value)
                ]
            else:
                kept[name] = self._filter_one(value, each, f"{place}{name}.", f"{path}{name}.")

    def _filter_one(self, value: Any, inside: Inside, place: str, path: str) -> Any:
        if not isinstance(value, dict) or not inside.is_kind(value):
            return value
        kept = self._filter_object(value, inside.rules, inside.supported, place, path)
        self._filter_inside(kept, inside.inside, place, path)
        return kept

    def _filter_object(
        self,
        given: dict[str, JsonValue],
        rules: Mapping[str, FieldRule],
        supported: Iterable[str],
        place: str,
        path: str,
    ) -> dict[str, JsonValue]:
        """The supported fields of an object at `path`; `place` is the path without indices, by
        which ignored fields are named."""
        kept: dict[str, JsonValue] = {}
        for name, value in given.items():
            rule = rules.get(name)
            if value is None:
                continue
            if rule and rule.has_no_effect(value, given):
                self._ignored[place + name] = None
            elif rule and rule.refusal:
                self._refuse("invalid_value", path + name, f"is not supported: {rule.refusal}")
            elif rule or name in supported:
                kept[name] = value
            elif self._may_ignore(name, place, (*supported, *rules)):
                self._ignored[place + name] = None
            else:
                self._refuse("unknown_field", path + name, unknown_name(name[:64], [*supported]))
            if len(self.faults) >= MOST_FAULTS:
                break
        return kept

    def _may_ignore(self, name: str, place: str, known: Iterable[str]) -> bool:
        if place + name in self._ignored:  # in another message
            return True
        return self._lenient and len(self._ignored) < MOST_IGNORED and not _is_near(name, known)

    def _refuse(self, code: str, path: str, message: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(
                {"code": code, "message": f"{path[:128]} {message}", "field": path[:128]}
            )

    def _adapt(self, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Replace the values that OpenAI's and vLLM's clients send for what we say otherwise."""
        for name, value, instead in ADAPTED:
            if _equals(body.get(name), value):
                del body[name]
                body |= instead
                self.adapted |= instead or {name: None}
        return body


def _equals(given: Any, value: int) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and given == value


def _is_near(name: str, known: Iterable[str]) -> bool:
    """Whether a name is Hugging Face's for a parameter of ours, or probably a misspelt one."""
    if name in OTHER_NAMES:
        return True
    return bool(
        difflib.get_close_matches(name[:64].lower(), [*known, *OTHER_NAMES], n=1, cutoff=NEAR)
    )


def header_names(ignored: Iterable[str]) -> list[str]:
    """The names as a header may have them: at most twenty, without unsafe characters."""
    names = zip(range(MOST_IN_HEADER), ignored, strict=False)
    return [UNSAFE.sub("?", name[:64]) for _, name in names]


class LogOnce:
    """Logs each name once in the life of a process; after a thousand names, no more."""

    MOST = 1000

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self._logged: set[str] = set()

    def __call__(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._logged and len(self._logged) < self.MOST:
                self._logged.add(name)
                self._log(name)
