"""The rows that the form shows as the model will read them: the first, the longest, and the first
with a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import InvalidRequest, NotFound
from common.prompting.template import Template
from web.intake.drafts import Draft
from web.intake.preparation import prep_of
from web.intake.preview import preview_job
from web.pages.submission import Submission
from web.schemas.preview import PreviewRow
from web.schemas.requests import JobOptions
from web.services.services import Services

LOOKED_AT = 2000  # rows of a file, among which the longest and the first faulty one are looked for


@dataclass(frozen=True)
class ShownRow:
    """A row of the preview, and why it is shown."""

    why: str
    row: PreviewRow


@dataclass(frozen=True)
class Preview:
    """`count` rows were looked at; `all` says whether that is all there are."""

    rows: list[ShownRow]
    count: int
    all: bool


def preview(services: Services, tenant: str, submission: Submission) -> Preview | None:
    """None where the form has errors, which are noted at it."""
    if submission.errors or submission.options is None or not submission.source.input:
        return None
    try:
        chosen = _choose(submission)
        view = preview_job(
            services, tenant, submission.options, [draft for _, draft in chosen.drafts], 3
        )
    except (InvalidRequest, NotFound) as error:
        submission.place(error)
        return None
    rows = [ShownRow(why, row) for (why, _), row in zip(chosen.drafts, view.rows, strict=True)]
    return Preview(rows, chosen.count, chosen.all)


@dataclass(frozen=True)
class _Chosen:
    drafts: list[tuple[str, Draft]]  # with why each is shown
    count: int
    all: bool


def _choose(submission: Submission) -> _Chosen:
    """The rows to show. One that is several of them is shown once."""
    first = longest = faulty = None
    size, count, all_read = -1, 0, True
    variables = _variables(submission.options)
    for draft in submission.drafts():
        if count == LOOKED_AT:
            all_read = False
            break
        count += 1
        first = first or draft
        if faulty is None and _is_faulty(draft, variables):
            faulty = draft
        if (length := sum(map(len, _texts(draft, variables)))) > size:
            size, longest = length, draft
    whole = "" if all_read else f" of the first {LOOKED_AT:,}"
    found: list[tuple[str, Draft]] = []
    for why, each in (
        ("First", first),
        (f"Longest{whole}", longest),
        (f"First{whole} that cannot run", faulty),
    ):
        if each is not None and all(each is not shown for _, shown in found):
            found.append((why, each))
    return _Chosen(found, count, all_read)


def _variables(options: JobOptions | None) -> tuple[str, ...] | None:
    """The names that the template uses; None where there is none."""
    template = prep_of(options).get("template") if options else None
    return Template.parse(template).variables if template else None


def _is_faulty(draft: Draft, variables: tuple[str, ...] | None) -> bool:
    """Whether the row lacks what it needs. What the model's tokens tell, a check finds."""
    if draft.fault or draft.refused or not isinstance(draft.value, dict):
        return True
    if variables is None:
        return not any(draft.value.get(name) for name in ("prompt", "messages", "prompt_ids"))
    given = draft.value.get("vars") or {}
    return any(given.get(name) in (None, "") for name in variables)


def _texts(draft: Draft, variables: tuple[str, ...] | None) -> Iterator[str]:
    """What a row adds to its prompt."""
    value = draft.value if isinstance(draft.value, dict) else {}
    if variables is not None:
        given = value.get("vars") or {}
        yield from (str(given[name]) for name in variables if given.get(name) is not None)
    elif value.get("messages"):
        yield str(value["messages"])
    else:
        yield str(value.get("prompt") or "")
