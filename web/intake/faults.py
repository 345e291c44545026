"""Errors of items, each with its place in what was sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import ValidationError

from common.errors import ErrorDict, InvalidRequest
from web.intake.drafts import Draft
from web.intake.validation_messages import MOST_FAULTS, explain
from web.schemas.requests import Item

# Codes of errors whose cause is the length of a prompt, though a parameter is the field.
OF_ONE = ("context_length_exceeded", "too_many_tokens")


class Fault(Exception):
    """One thing wrong with one item."""

    def __init__(self, code: str, field: str, message: str):
        super().__init__(message)
        self.code = code
        self.field = field

    def of_job(self) -> InvalidRequest:
        """The error where it is wrong with the job itself."""
        return InvalidRequest(str(self), code=self.code, field=self.field)


class Broken(Fault):
    """Wrong with what was sent as a whole: refused even where single items may stay and fail."""


def overflow(context: int, what: str, field: str) -> Fault:
    """More tokens than the model takes. The message begins with the words that clients look for,
    and has a number that they can read."""
    message = f"This model's maximum context length is {context} tokens. However, {what}"
    return Fault("context_length_exceeded", field, message)


def is_of_all_prompts(error: Fault | ValidationError, draft: Draft, given: Collection[str]) -> bool:
    """Whether it is wrong with the job's own parameters, whichever its prompts are: bare prompts
    have none themselves. Without a given max_tokens, what there is depends on the prompt."""
    if not isinstance(error, Fault) or not draft.path.startswith("prompts"):
        return False
    root, _, name = error.field.partition(".")
    needed = {name.partition(".")[0]} | ({"max_tokens"} if name == "min_tokens" else set())
    return root == "params" and error.code not in OF_ONE and needed <= set(given)


def error_dicts(
    error: Fault | ValidationError, draft: Draft, given: Collection[str] = ()
) -> list[ErrorDict]:
    """What is wrong with an item, with its place in what was sent. `given` are the parameters that
    its job gives."""
    if isinstance(error, ValidationError):
        found = explain(error, Item, draft.at)
    else:
        found = [{"code": error.code, "message": draft.told(str(error))}]
        of_all = is_of_all_prompts(error, draft, given)
        if place := error.field if of_all else draft.at(error.field, error.code):
            found[0]["field"] = place
    if draft.line:
        for each in found:
            each["line"] = draft.line
    return found


def refusal(faults: Sequence[ErrorDict]) -> InvalidRequest:
    """The error that refuses a job with these faults; there is at least one."""
    bad = len(faults)
    count = f"{bad} problems" if bad > 1 else "1 problem"
    more = " or more" if bad == MOST_FAULTS else ""
    first = faults[0]
    where = f"line {first['line']}: " if "line" in first else ""
    return InvalidRequest(
        f"{count}{more}, nothing was enqueued; {where}{first['message']}",
        errors=list(faults),
        code=first["code"] if bad == 1 else None,
    )
