"""Takes out of a request what changes nothing, before the request models read the rest.

What is taken out is named to the client, never dropped in silence. Null means that a field was not
given. An unknown name is a fault, or taken out as well where the request is read leniently; one
that is nearly a known name is a fault in any case, because its value was meant to have an effect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from common.errors import ErrorDict
from common.params import OTHER_NAMES
from web.intake.validation_messages import MOST_FAULTS, unknown_name
from web.openai import refusals
from web.openai.refusals import Rule

NEAR = 0.85  # likeness of two names from which on one is taken for a misspelt other
MOST_IGNORED = 100  # names that one request may have beyond those that are known
MOST_TOLD = 20  # names in a header
ODD = re.compile(r"[^A-Za-z0-9_.-]")


class Sift:
    """Of one request. `ignored` are the paths that were taken out, without indices, each once;
    `faults` entries of an error list; `adapted` the sampling settings that take effect otherwise
    than they were sent, as they do: a seed is None, which the worker draws."""

    def __init__(self, lenient: bool):
        self._lenient = lenient
        self._ignored: dict[str, None] = {}
        self.adapted: dict[str, Any] = {}
        self.faults: list[ErrorDict] = []

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(self._ignored)

    def request(self, body: Any, rules: Mapping[str, Rule], honoured: Iterable[str]) -> Any:
        """What is left of a request: fields of its model. What is no object is left as it is."""
        if not isinstance(body, dict):
            return body
        left = self._object(body, rules, honoured, "", "")
        if isinstance(messages := left.get("messages"), list):
            left["messages"] = [
                self._message(message, f"messages.{n}") for n, message in enumerate(messages)
            ]
        if isinstance(options := left.get("stream_options"), dict):
            known = ("include_usage", "continuous_usage_stats")
            left["stream_options"] = self._object(
                options, refusals.STREAM_OPTIONS, known, "stream_options.", "stream_options."
            )
        return self._adapt(left)

    def _message(self, message: Any, path: str) -> Any:
        # Refused by its role.
        if not isinstance(message, dict) or message.get("role") in ("tool", "function"):
            return message
        left = self._object(message, refusals.MESSAGE, ("role", "content"), "messages.", f"{path}.")
        if isinstance(parts := left.get("content"), list):
            left["content"] = [
                self._part(part, f"{path}.content.{n}.") for n, part in enumerate(parts)
            ]
        return left

    def _part(self, part: Any, path: str) -> Any:
        """Parts of other types are refused by their type, whatever else they have."""
        if not isinstance(part, dict) or part.get("type") != "text":
            return part
        return self._object(part, {}, ("type", "text"), "messages.content.", path)

    def _object(
        self,
        given: dict[str, Any],
        rules: Mapping[str, Rule],
        honoured: Iterable[str],
        place: str,
        path: str,
    ) -> dict[str, Any]:
        """What is left of an object at `path`; `place` is the path without indices, by which fields
        are told."""
        left = {}
        for name, value in given.items():
            rule = rules.get(name)
            if value is None:
                continue
            if rule and rule.changes_nothing(value, given):
                self._ignored[place + name] = None
            elif rule and rule.why:
                self._fault("invalid_value", path + name, f"is not supported: {rule.why}")
            elif rule or name in honoured:
                left[name] = value
            elif self._may_ignore(name, place, (*honoured, *rules)):
                self._ignored[place + name] = None
            else:
                self._fault("unknown_field", path + name, unknown_name(name[:64], [*honoured]))
            if len(self.faults) >= MOST_FAULTS:
                break
        return left

    def _may_ignore(self, name: str, place: str, known: Iterable[str]) -> bool:
        if place + name in self._ignored:  # in another message
            return True
        return self._lenient and len(self._ignored) < MOST_IGNORED and not _is_near(name, known)

    def _fault(self, code: str, path: str, message: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(
                {"code": code, "message": f"{path[:128]} {message}", "field": path[:128]}
            )

    def _adapt(self, body: dict[str, Any]) -> dict[str, Any]:
        """Values by which OpenAI's and vLLM's clients say what is said otherwise here."""
        for name, value, instead in ADAPTED:
            if _equals(body.get(name), value):
                del body[name]
                body |= instead
                self.adapted |= instead or {name: None}
        return body


# (field, its value, what that means here)
ADAPTED: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("seed", -1, {}),  # none: each item gets one of its own
    ("top_k", -1, {"top_k": 0}),  # all tokens
    ("top_p", 0, {"temperature": 0}),  # the likeliest token
)


def _equals(given: Any, value: int) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and given == value


def _is_near(name: str, known: Iterable[str]) -> bool:
    """Whether a name is taken for a misspelt or Hugging Face's one."""
    if name in OTHER_NAMES:
        return True
    return bool(
        difflib.get_close_matches(name[:64].lower(), [*known, *OTHER_NAMES], n=1, cutoff=NEAR)
    )


def told(ignored: Iterable[str]) -> list[str]:
    """Names as a header may have them: at most twenty, without odd characters."""
    return [ODD.sub("?", name[:64]) for _, name in zip(range(MOST_TOLD), ignored, strict=False)]


class Once:
    """Says each name once in the life of a process; after a thousand names, none any more."""

    MOST = 1000

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._said: set[str] = set()

    def __call__(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._said and len(self._said) < self.MOST:
                self._said.add(name)
                self._say(name)
