"""Turns Pydantic's errors into messages for the author of a request: what is wrong, where, and how
to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from common.errors import ErrorDict, InvalidRequest
from common.params import OTHER_NAMES, SamplingParams, Thinking
from common.structured.output_format import OutputFormat
from common.structured.tools import Function, ToolSet
from web.schemas.evaluations import GateRule
from web.schemas.messages import CalledFunction, ItemMessage, ToolCall
from web.schemas.preparation import PromptTemplate, Truncation
from web.schemas.tables import ColumnMapping, TableFormat
from web.schemas.webhooks import Webhook

M = TypeVar("M", bound=BaseModel)

# Pydantic's error type -> (our stable code, what the value must be). Texts may use values of the
# error's context.
SAYINGS: dict[str, tuple[str, str]] = {
    "missing": ("missing_field", "is required"),
    "int_parsing": ("wrong_type", "must be a whole number"),
    "float_parsing": ("wrong_type", "must be a number"),
    "int_type": ("wrong_type", "must be a whole number"),
    "int_from_float": ("wrong_type", "must be a whole number"),
    "float_type": ("wrong_type", "must be a number"),
    "string_type": ("wrong_type", "must be text"),
    "bool_type": ("wrong_type", "must be true or false"),
    "list_type": ("wrong_type", "must be a list"),
    "tuple_type": ("wrong_type", "must be a list"),
    "dict_type": ("wrong_type", "must be an object"),
    "model_type": ("wrong_type", "must be an object"),
    "model_attributes_type": ("wrong_type", "must be an object"),
    "finite_number": ("out_of_range", "must be a finite number"),
    "greater_than": ("out_of_range", "must be above {gt}"),
    "greater_than_equal": ("out_of_range", "must be at least {ge}"),
    "less_than": ("out_of_range", "must be below {lt}"),
    "less_than_equal": ("out_of_range", "must be at most {le}"),
    "literal_error": ("invalid_value", "must be {expected}"),
    "string_too_short": ("invalid_value", "must not be empty"),
    "string_too_long": ("invalid_value", "must have at most {max_length} characters"),
    "string_unicode": ("invalid_value", "is not valid Unicode"),
    "too_short": ("invalid_value", "must not be empty"),
    "too_long": ("invalid_value", "must have at most {max_length} entries"),
    "refused": ("invalid_value", "{message}"),
    "value_error": ("invalid_value", "{error}"),
}
# Errors of one object: enough to correct it by, and a limit to what a hundred thousand wrong fields
# cost.
MOST_FAULTS = 100
# One message for a value of metadata that has none of the allowed types, instead of one for each.
# Fields of a new job that nothing else has, and what to say of them there.
NEW_JOB = {
    "input_from": "is for POST /v1/jobs only, as JSON, in place of items",
    "judge": "needs input_from, the jobs whose outputs it judges, which is for POST /v1/jobs only",
}
METADATA = ("wrong_type", "must be text, a number, true, false or null")


def validated(model: type[M], value: Any, known: type[BaseModel] | None = None) -> M:
    """`value` as the model; `InvalidRequest` lists all that is wrong with it. `known` is the model
    whose names are suggested instead of unknown ones, if not the same."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = explain(error, known or model)
        code = errors[0]["code"] if len(errors) == 1 else None
        raise InvalidRequest(errors[0]["message"], errors=errors, code=code) from None


def explain(
    error: ValidationError, model: type[BaseModel], at: Callable[[str], str] = str
) -> list[ErrorDict]:
    """One error for each field; `at` turns a path inside the model into the one that the user
    knows."""
    found: dict[str, ErrorDict] = {}
    for details in error.errors(include_url=False)[:MOST_FAULTS]:
        loc = details["loc"]
        in_metadata = "metadata" in loc and len(loc) > loc.index("metadata") + 1
        if in_metadata:
            loc = loc[: loc.index("metadata") + 2]
        path = _path(loc)
        if in_metadata and details["type"] != "string_too_long":
            code, text = METADATA
        elif details["type"] == "extra_forbidden":
            code, text = "unknown_field", _unknown(loc, model)
        else:
            code, text = _say(details)
        # Without its wrong entries Pydantic may find a list too short: that is not another mistake.
        if details["type"] != "too_short" or not any(
            other.startswith(f"{path}.") for other in found
        ):
            found.setdefault(
                path, {"code": code, "message": f"{path or 'the body'} {text}", "field": at(path)}
            )
    return list(found.values())


def unknown_name(name: str, known: Iterable[str], into_params: bool = False) -> str:
    """What to do about an unknown name; `into_params` where decoding parameters may have been put
    one level too high."""
    where = ", inside params" if into_params else ""
    if name in OTHER_NAMES:
        return f"is called {OTHER_NAMES[name]} here{where}"
    if into_params and name in SamplingParams.model_fields:
        return "belongs inside params"
    near = difflib.get_close_matches(name, [*known, *OTHER_NAMES], n=1, cutoff=0.7)
    if not near and into_params:
        near = difflib.get_close_matches(name, SamplingParams.model_fields, n=1, cutoff=0.7)
    if near:
        return f"is not known; did you mean {OTHER_NAMES.get(near[0], near[0])}?"
    return f"is not known; known are {', '.join(known)}"


def _path(loc: Iterable[int | str]) -> str:
    return ".".join(str(part)[:64] for part in loc if part != "[key]")


def _say(details: ErrorDetails) -> tuple[str, str]:
    code, text = SAYINGS.get(details["type"], ("invalid_value", "is wrong: {msg}"))
    context = {name: _plain(value) for name, value in details.get("ctx", {}).items()}
    text = text.format(msg=details["msg"], **context)
    given = details["input"]
    if code == "out_of_range" and isinstance(given, int | float):
        text += f", not {given:g}" if abs(given) < 1e15 else ""
    return code, text


def _plain(value: Any) -> Any:
    """A bound as people write it: 1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    name = str(loc[-1])[:64]
    if len(loc) == 1 and name in NEW_JOB:
        return NEW_JOB[name]
    inside = next((part for part in reversed(loc[:-1]) if isinstance(part, str)), "")
    nested: dict[str, type[BaseModel]] = {
        "params": SamplingParams,
        "output": OutputFormat,
        "thinking": Thinking,
        "webhook": Webhook,
        "messages": ItemMessage,
        "tool_calls": ToolCall,
        "function": CalledFunction,
        "tools": ToolSet,
        "functions": Function,
        "columns": ColumnMapping,
        "format": TableFormat,
        "truncate": Truncation,
        "template": PromptTemplate,
        "gate": GateRule,
    }
    model = nested.get(inside, model)
    fields = [field.alias or name for name, field in model.model_fields.items()]
    return unknown_name(name, fields, into_params="params" in fields)
