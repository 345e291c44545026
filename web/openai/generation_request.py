"""What requests for chat completions and for completions have in common."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue, PrivateAttr, StringConstraints

from common.params import SamplingParams
from web.openai.answer_options import AnswerOptions, Endpoint
from web.openai.field_filter import FieldFilter
from web.openai.messages import OTHER_FIELDS
from web.openai.output_formats import AskedFormat, FormatFields, asked_format
from web.schemas.base import Schema


class StreamOptions(Schema):
    """Options of a request with `stream: true`."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    include_usage: bool = Field(False, description="A last chunk has the usage.")
    continuous_usage_stats: bool = Field(
        False, description="vLLM's: every chunk has the usage so far."
    )


class GenerationRequest(SamplingParams, FormatFields):
    """The fields that both endpoints have."""

    model_config = ConfigDict(json_schema_extra=OTHER_FIELDS)

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    stream: bool = Field(False, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, max_length=512, description="Kept with the item.")

    _filter: FieldFilter = PrivateAttr(default_factory=lambda: FieldFilter(lenient=False))

    def set_filter(self, filter_: FieldFilter) -> None:
        """The filter that took fields out of the request, before it was validated."""
        self._filter = filter_

    @property
    def ignored(self) -> tuple[str, ...]:
        """The fields that were given and had no effect, by their paths without indices."""
        return self._filter.ignored

    def check_together(self) -> None:
        """Check what concerns several fields.

        Raises:
            InvalidRequest: naming the field.
        """
        _ = self.format

    @cached_property
    def format(self) -> AskedFormat | None:
        """The format that is asked for.

        Raises:
            InvalidRequest: several are.
        """
        return asked_format(self, self.output)

    @property
    def names(self) -> dict[str, str]:
        """The client's name for a field of an item, by the field's path or by the error's code."""
        return self.format.names if self.format else {}

    def _answer_options(self, endpoint: Endpoint, **more: Any) -> AnswerOptions:
        options = self.stream_options if self.stream else None
        return AnswerOptions(
            endpoint,
            self.model,
            self.n,
            include_usage=bool(options and options.include_usage),
            continuous_usage=bool(options and options.continuous_usage_stats),
            ignored=self._filter.ignored,
            adapted=self._filter.adapted,
            **more,
        )

    def _params(self, **changed: Any) -> dict[str, JsonValue]:
        """The decoding parameters that were given, with `changed` ones; None takes one out."""
        if self.format:
            changed["output"] = self.format.output
        names = set(SamplingParams.model_fields) & self.model_fields_set
        given = self.model_dump(mode="json", include=names) | changed
        return {name: value for name, value in given.items() if value is not None}
