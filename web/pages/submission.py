"""The submit form as it was sent: its job, its prompts, and its errors, each next to its input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

from pydantic import ValidationError
from werkzeug.datastructures import FileStorage

from common.errors import Conflict, InvalidRequest, NotFound
from web.intake.drafts import Draft
from web.intake.estimate import check_job
from web.intake.origin import Origin
from web.intake.reading import Reading
from web.intake.uploads import read_upload
from web.intake.validation_messages import explain
from web.jobs.actions import submit_job
from web.pages.form import FormErrors, place_error, read_job, refuse_unknown
from web.pages.pasted_prompts import as_chat, read_prompts
from web.schemas.answers import CheckView, JobView
from web.schemas.requests import UploadOptions
from web.services.services import Services


class Submission:
    """One request with the form. `typed` is what was typed, with which the page is shown again."""

    def __init__(self, typed: Mapping[str, str], file: FileStorage | None):
        self.typed = typed
        self.errors = FormErrors()
        self._file = file if file and file.filename else None
        has_prompts = bool(typed.get("prompts", "").strip())
        # The input at which errors of prompts are shown.
        self._source = "file" if self._file else "prompts"
        refuse_unknown(typed, self.errors)
        self._options = self._read_options()
        if self._file and has_prompts:
            self.errors.add(
                "file", "Paste prompts or upload a file, not both: clear the text box or the file."
            )
        elif not self._file and not has_prompts:
            self.errors.add("prompts", "There is no prompt yet: type one, or choose a file.")

    def _read_options(self) -> UploadOptions | None:
        job = read_job(self.typed, self.errors)
        if self._file and (column := self.typed.get("prompt_column", "").strip()):
            job["prompt_column"] = column
        try:
            return UploadOptions.model_validate(job)
        except ValidationError as error:
            for entry in explain(error, UploadOptions):
                place_error(self.errors, entry, self._source)
            return None

    def check(self, services: Services, tenant: str) -> CheckView | None:
        """The size of the job, and its errors; None if the form itself has errors."""
        if self.errors or self._options is None:
            return None
        try:
            view = check_job(services, self._options, self._drafts(), tenant=tenant)
        except (InvalidRequest, NotFound) as error:
            self._place(error)
            return None
        for entry in view.errors:
            place_error(self.errors, entry.model_dump(exclude_none=True), self._source)
        return view

    def submit(self, services: Services, tenant: str, first: int | None = None) -> JobView | None:
        """The new job of all prompts, or of the first few; None if something is wrong.

        The form's token is the idempotency key, so that two presses of the button make one job.
        The same token with other content comes from somebody who went back and changed the form:
        that makes another job.
        """
        if self.errors or self._options is None:
            return None
        key = f"form:{self.typed.get('token', '')[:64]}:{first or 'all'}"
        try:
            origin = Origin.native(key)
            return submit_job(services, tenant, self._options, self._drafts(first), origin)
        except Conflict:
            return submit_job(services, tenant, self._options, self._drafts(first), Origin.native())
        except (InvalidRequest, NotFound) as error:
            self._place(error)
            return None

    def _drafts(self, first: int | None = None) -> Iterator[Draft]:
        drafts = islice(self._all_drafts(), first)
        if self.typed.get("reads") == "chat":
            return (replace(draft, value=as_chat(draft.value)) for draft in drafts)
        return drafts

    def _all_drafts(self) -> Iterator[Draft]:
        if self._file and self._options:
            self._file.stream.seek(0)
            return read_upload(
                self._file.stream, self._file.filename or "", Reading.of(self._options)
            )
        pasted = read_prompts(self.typed.get("prompts", ""), self.typed.get("split", "line"))
        return (Draft({"prompt": prompt.text}, line=prompt.line) for prompt in pasted)

    def _place(self, error: InvalidRequest | NotFound) -> None:
        for entry in error.errors if isinstance(error, InvalidRequest) else [error.as_dict()]:
            place_error(self.errors, entry, self._source)
