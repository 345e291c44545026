"""How an uploaded file is to be read, as its job's options say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from web.schemas.requests import JobOptions, UploadOptions, keeps_bad_rows
from web.schemas.tables import ColumnMapping, TableFormat


@dataclass(frozen=True)
class Reading:
    """The options that matter to readers of files.

    `templated`: prompts are made by a template, so that a table needs no column of prompts.
    """

    columns: ColumnMapping | None = None
    prompt_column: str | None = None  # None: not given
    format: TableFormat = field(default_factory=lambda: TableFormat.model_validate({}))
    templated: bool = False
    keeps_bad_rows: bool = False

    @staticmethod
    def of(options: JobOptions) -> Reading:
        templated = options.template is not None
        if not isinstance(options, UploadOptions):
            return Reading(templated=templated)
        given = "prompt_column" in options.model_fields_set
        return Reading(
            options.columns,
            options.prompt_column if given else None,
            options.format or TableFormat.model_validate({}),
            templated,
            keeps_bad_rows(options),
        )

    def with_template(self, templated: bool) -> Reading:
        return replace(self, templated=templated)

    @property
    def is_data(self) -> bool:
        """Whether every column is a variable, and its name means nothing by itself."""
        return self.templated or self.columns is not None

    @property
    def mapped(self) -> Mapping[str, str]:
        """What columns are mapped to: the option's name, such as `columns.params.seed`, and the
        column's."""
        if self.columns is None:
            return {}
        given = self.columns.model_dump(exclude_none=True)
        params = given.pop("params", {})
        return {f"columns.{name}": column for name, column in given.items()} | {
            f"columns.params.{name}": column for name, column in params.items()
        }


AS_USUAL = Reading()  # of a job that says nothing about its file
