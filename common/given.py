"""What models of a client's data share: null means that a field was not given, and refusals have
words of their own.

A leaf: imports no other module of promptmill.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator
from pydantic_core import PydanticCustomError


class Given(BaseModel):
    """Data of a client, in which null means that a field was not given. Inside free-form values it
    stays null."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        if not isinstance(data, dict) or None not in data.values():
            return data
        return {name: value for name, value in data.items() if value is not None}


def refuse(message: str) -> PydanticCustomError:
    """An error with this message, which the client reads unchanged."""
    return PydanticCustomError("refused", "{message}", {"message": message})
