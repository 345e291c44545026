"""The functions that an answer may call, and whether it must call one.

Knows neither how a model writes a call (`tool_calls`, `tool_grammar`) nor how it is told of the
functions (`tool_prompt`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from common.given import Given, refuse
from common.structured.output_format import JsonSchema
from common.types import JsonObject

MOST_FUNCTIONS = 128
MOST_BYTES = 262_144  # of all functions together, as JSON

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


def _describes_object(schema: Any) -> Any:
    """Arguments are an object: they have names."""
    if schema.get("type", "object") != "object":
        raise refuse('must describe an object: its "type" is to be "object"')
    return schema


class Function(Given):
    """A function that an answer may call. Without `parameters` it takes none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: Name = Field(description="Letters, digits, `_` and `-`; at most 64.")
    description: str | None = Field(None, description="What it does, for the model.")
    parameters: Annotated[JsonSchema, AfterValidator(_describes_object)] | None = Field(
        None, description="A JSON Schema of its arguments, which are an object."
    )

    strict: bool = Field(
        False,
        description="Hold a call that may be made to the parameters, too; those that must be made "
        "are held to them in any case.",
    )


class NamedFunction(Given):
    """The function that must be called."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str


class ToolSet(Given):
    """The functions that an answer may call."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    functions: Annotated[
        tuple[Function, ...], Field(min_length=1, max_length=MOST_FUNCTIONS, fail_fast=True)
    ]
    choice: Literal["auto", "required"] | NamedFunction = Field(
        "auto",
        description="auto: the model may call or answer in text; required: it calls at least one; "
        '`{"name": …}`: it calls this one, once.',
    )
    parallel: bool = Field(True, description="Whether one answer may have several calls.")

    @property
    def is_forced(self) -> bool:
        """Whether the answer is a call in any case."""
        return self.choice != "auto"

    @property
    def binds(self) -> bool:
        """Whether an answer is held to a grammar."""
        return self.is_forced or any(each.strict for each in self.functions)

    @property
    def callable(self) -> tuple[Function, ...]:
        """Those that this answer may call."""
        if isinstance(self.choice, NamedFunction):
            wanted = self.choice.name
            return tuple(each for each in self.functions if each.name == wanted)
        return self.functions

    @property
    def names(self) -> frozenset[str]:
        return frozenset(each.name for each in self.callable)

    @property
    def is_single(self) -> bool:
        """Whether an answer has one call at most."""
        return not self.parallel or isinstance(self.choice, NamedFunction)

    def stored(self) -> JsonObject:
        """As items keep it: what was given."""
        return self.model_dump(mode="json", exclude_unset=True)

    @model_validator(mode="before")
    @classmethod
    def _accept_list(cls, data: Any) -> Any:
        """Accept JSON in strict mode, which wants tuples."""
        if isinstance(data, dict) and isinstance(functions := data.get("functions"), list):
            return {**data, "functions": tuple(functions)}
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> ToolSet:
        names = Counter(each.name for each in self.functions)
        name, count = names.most_common(1)[0]
        if count > 1:
            raise refuse(f"has the function {name} more than once")
        if isinstance(self.choice, NamedFunction) and self.choice.name not in names:
            raise refuse(f"must call {self.choice.name[:64]!r}, which is none of its functions")
        dumped = json.dumps(self.stored()["functions"], ensure_ascii=False)
        size = len(dumped.encode(errors="surrogatepass"))
        if size > MOST_BYTES:
            raise refuse(f"has {size:,} bytes of functions as JSON; it may have {MOST_BYTES:,}")
        return self


def listed(functions: Sequence[Any]) -> list[dict[str, Any]]:
    """Stored functions as chat templates list them: each as the JSON that clients send."""
    return [
        {
            "type": "function",
            "function": {
                "name": each["name"],
                "description": each.get("description") or "",
                "parameters": each.get("parameters") or {"type": "object", "properties": {}},
            },
        }
        for each in functions
    ]
