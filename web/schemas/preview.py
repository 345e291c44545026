"""The answer of a preview: the first rows of a job, as the model would read them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from web.schemas.answers import ErrorEntry


class PreviewRow(BaseModel):
    """One item. A row that could not run is listed like the others, with its errors."""

    line: int | None = Field(description="The line of an upload in which it begins (from 1).")
    custom_id: str | None
    text: str | None = Field(
        description="What the model reads, the chat template's text included; null if it cannot be "
        "made, or has errors and is long."
    )
    prompt_tokens: int | None = Field(description="Exact; null if only the worker can count them.")
    cleaned: dict[str, list[str]] = Field(
        description="The steps of cleaning that changed something, by variable or field."
    )
    truncated_tokens: int = Field(description="Tokens that truncation takes away.")
    errors: list[ErrorEntry]


class PreviewView(BaseModel):
    """How the first items of a job would be read; nothing was queued."""

    model: str
    columns: list[str] = Field(
        description="The names of the input's columns in order; of JSON items those of the rows "
        "that are shown."
    )
    rows: list[PreviewRow]
