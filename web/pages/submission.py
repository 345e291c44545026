"""The submit form as it was sent: its job, its items, and its errors, each next to its input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from pydantic import ValidationError

from common.errors import Conflict, InvalidRequest, NotFound
from web.intake.columns import MissingColumn
from web.intake.drafts import Draft, Drafts
from web.intake.estimate import check_job
from web.intake.formats import Formats
from web.intake.origin import Origin
from web.intake.validation_messages import explain, validated
from web.jobs.actions import submit_job
from web.jobs.sweeps import submit_sweep
from web.pages.form import FormErrors, JobFields, place_error, read_job, refuse_unknown
from web.pages.metric_fields import at_its_box
from web.pages.output_fields import KIND, OUTPUT
from web.pages.preparation import chosen_columns
from web.pages.presets import preset_in_effect
from web.pages.sources import Source, find_source, read_drafts
from web.pages.sweep_fields import read_sweep
from web.pages.table_view import TableView, look_at
from web.schemas.answers import CheckView, ErrorEntry, JobView
from web.schemas.requests import UploadOptions, keeps_bad_rows
from web.schemas.sweeps import SweepUpload, SweepView
from web.services.services import Services

LONGEST_JOB_NAME = 200  # characters, as the form takes
NO_PROMPTS = "choose the column that has the prompts, or write an instruction."


class Submission:
    """One request with the form. `typed` is what was typed, with which the page is shown again;
    `table` is what was found out about its file."""

    def __init__(self, services: Services, tenant: str, typed: Mapping[str, str]):
        self.typed = typed
        self.errors = FormErrors()
        self._services = services
        self._tenant = tenant
        refuse_unknown(typed, self.errors)
        self.source = self._find_source()
        self.table: TableView | None = None
        self.table = self._look_at_table()
        self.fields = self._read_fields()
        self.sweep = read_sweep(typed, self.errors)
        self.options = self._read_options()

    def _find_source(self) -> Source:
        source = Source("")
        try:
            source = find_source(self._services, self._tenant, self.typed)
        except (InvalidRequest, NotFound) as error:
            name = "file" if self.typed.get("input_file") else ""
            self.errors.add(name, f"{error.message[:1].upper()}{error.message[1:]}")
        if source.input != "prompts" and source.input and self.typed.get("prompts", "").strip():
            self.errors.add(
                "file", "Paste prompts or upload a file, not both: clear the text box or the file."
            )
        return source

    def _look_at_table(self) -> TableView | None:
        if self.source.file is None:
            return None
        try:
            return look_at(self._services, self.source.file, self.typed)
        except InvalidRequest as error:
            self.place(error)
            return None

    def _read_fields(self) -> JobFields:
        job = read_job(self.typed, self.errors, self.table.names if self.table else ())
        if self.source.file is None:
            # What is said about columns means nothing without a table.
            for name in ("columns", "format", "bad_rows"):
                job.pop(name, None)  # type: ignore[misc]
        elif "metadata" not in job:
            job["metadata"] = {"name": self.source.file.filename[:LONGEST_JOB_NAME]}
        if self.source.job:  # its items keep what the columns were mapped to
            prep = self._services.store.prep(self.source.job.id)
            if "mapped" in prep:
                job["columns"] = prep["mapped"]
        if preset := preset_in_effect(self._services, self._tenant, self.typed):
            job["preset"] = preset
        return job

    def _read_options(self) -> UploadOptions | None:
        try:
            return UploadOptions.model_validate(self.fields)
        except ValidationError as error:
            for entry in explain(error, UploadOptions):
                self._place(entry)
            return None

    def refuse_empty(self) -> None:
        """Note an error if there is nothing to submit."""
        if not self.source.input and not self.errors:
            self.errors.add("prompts", "There is no prompt yet: type one, or choose a file.")
        self._refuse_promptless()

    def _refuse_promptless(self) -> None:
        """Note an error if the file is one of rows as JSON, and nothing says where prompts are."""
        table, options = self.table, self.options
        if table is None or table.kind != "jsonl" or not table.names or self.errors:
            return
        if options and options.template is None and not self.typed.get("columns.prompt"):
            self.errors.add("columns.prompt", NO_PROMPTS)

    def check_output(self) -> None:
        """Note an error if the output format cannot be had, unless one is noted already."""
        is_noted = any(name.startswith(OUTPUT) for name in self.errors.by_field)
        if is_noted or self.options is None or self.options.params.output is None:
            return
        try:
            model = self._services.models.choose(self.options.model)
            formats = Formats(self._services.grammars, self._tenant, model)
            formats.check_job(self.options.params)
        except (InvalidRequest, NotFound) as error:
            self.place(error)

    def check(self) -> CheckView | None:
        """The size of the job, and its errors; None if the form itself has errors."""
        self._refuse_promptless()
        if self.errors or self.options is None or not self.source.input:
            self.check_output()
            return None
        try:
            view = check_job(self._services, self.options, self.drafts(), tenant=self._tenant)
        except (InvalidRequest, NotFound) as error:
            self.place(error)
            return None
        if view.valid:  # what cannot run is kept, to fail in the job
            return view
        for entry in view.errors:
            self._place(entry.model_dump(exclude_none=True))
        return view

    def lines_that_fail(self) -> list[ErrorEntry]:
        """What is wrong with the lines that stay as failed items; 100 of them at most."""
        if self.options is None or not keeps_bad_rows(self.options):
            return []
        strict = self.options.model_copy(update={"bad_rows": "refuse"})
        drafts = read_drafts(self._services, self._tenant, self.source, self.typed, strict)
        return check_job(self._services, strict, drafts, tenant=self._tenant).errors

    def submit(self, first: int | None = None) -> JobView | None:
        """The new job of all prompts, or of the first few; None if something is wrong.

        The form's token is the idempotency key, so that two presses of the button make one job.
        The same token with other content comes from somebody who went back and changed the form:
        that makes another job.
        """
        self.refuse_empty()
        if self.errors or self.options is None:
            return None
        key = f"form:{self.typed.get('token', '')[:64]}:{first or 'all'}"
        try:
            with suppress(Conflict):
                return self._submitted(self._origin(key, first), first)
            return self._submitted(self._origin(None, first), first)
        except (InvalidRequest, NotFound) as error:
            self.place(error)
            return None

    def submit_sweep(self) -> SweepView | None:
        """The new sweep; None if something is wrong. Otherwise as `submit`."""
        self.refuse_empty()
        if self.errors or self.options is None:
            return None
        key, drafts = f"form:{self.typed.get('token', '')[:64]}:sweep", Drafts(self.drafts)
        try:
            options = validated(SweepUpload, {**self.fields, "sweep": self.sweep})
            with suppress(Conflict):
                return submit_sweep(self._services, self._tenant, options, drafts, key)[0]
            return submit_sweep(self._services, self._tenant, options, drafts, None)[0]
        except (InvalidRequest, NotFound) as error:
            self.place(error)
            return None

    def _submitted(self, origin: Origin, first: int | None) -> JobView:
        assert self.options is not None
        drafts = self.drafts(first)
        return submit_job(self._services, self._tenant, self.options, drafts, origin)

    def _origin(self, key: str | None, first: int | None) -> Origin:
        if job := self.source.job:
            return replace(Origin.rerun(job.id, dict(self.fields), key), is_trial=first is not None)
        return Origin.native(key, trial=first is not None)

    def drafts(self, first: int | None = None) -> Iterator[Draft]:
        """The items, or the first few; only where the options could be read."""
        assert self.options is not None
        return read_drafts(
            self._services, self._tenant, self.source, self.typed, self.options, first
        )

    def place(self, error: InvalidRequest | NotFound) -> None:
        """Note an error of the job at the inputs it is about."""
        if isinstance(error, MissingColumn) and error.option in (None, "prompt_column"):
            self.errors.add(
                "columns.prompt",
                f"There is no column named {error.column[:64]}: {NO_PROMPTS}",
            )
            return
        for entry in error.errors if isinstance(error, InvalidRequest) else [error.as_dict()]:
            self._place(entry)

    def _place(self, entry: Mapping[str, object]) -> None:
        rows = chosen_columns(self.typed) if self.table else {}
        kind, entry = self.typed.get(KIND, ""), at_its_box(entry, self.typed)
        place_error(self.errors, entry, self.source.input or "prompts", rows, kind)
