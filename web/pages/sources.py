"""Where the items of the form come from: prompts that were pasted, a file that is stored, or
another job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from common.store.files import StoredFile
from common.types import ItemState
from web.intake.drafts import Draft
from web.intake.input_file import input_file, read_input_file
from web.jobs.stored_drafts import Change, Choice, drafts_again
from web.jobs.submitted import options_of
from web.jobs.views import job_view
from web.pages.pasted_prompts import as_chat, read_prompts
from web.pages.preparation import messages_of
from web.schemas.answers import JobView
from web.schemas.requests import UploadOptions
from web.services.services import Services

ALL = Choice(frozenset(ItemState))


@dataclass(frozen=True)
class Source:
    """`input` is the form's input at which errors of the items are shown; "" if there is no item
    yet. `file` and `job` are what the items are read from, if that is not the text box."""

    input: str
    file: StoredFile | None = None
    job: JobView | None = None


def find_source(services: Services, tenant: str, typed: Mapping[str, str]) -> Source:
    """Where the items are, as the form says.

    Raises:
        NotFound, InvalidRequest: the file or the job is not there any more, or not for this.
    """
    if file_id := typed.get("input_file"):
        return Source("file", file=input_file(services, tenant, file_id))
    if job_id := typed.get("like"):
        return Source("like", job=job_view(services, job_id, tenant))
    return Source("prompts" if typed.get("prompts", "").strip() else "")


def read_drafts(
    services: Services,
    tenant: str,
    source: Source,
    typed: Mapping[str, str],
    options: UploadOptions,
    first: int | None = None,
) -> Iterator[Draft]:
    """The items as drafts, or the first few of them."""
    drafts = islice(_all_drafts(services, tenant, source, typed, options), first)
    if typed.get("reads") == "chat" and options.template is None and source.job is None:
        return (_asked(draft, typed) for draft in drafts)
    return drafts


def _asked(draft: Draft, typed: Mapping[str, str]) -> Draft:
    """The draft with its prompt as a question, after the system message."""
    value = as_chat(draft.value)
    if value is draft.value:
        return draft
    text = value["messages"][0]["content"]
    return replace(draft, value={**value, "messages": messages_of(typed, text)})


def _all_drafts(
    services: Services,
    tenant: str,
    source: Source,
    typed: Mapping[str, str],
    options: UploadOptions,
) -> Iterator[Draft]:
    if source.file:
        return read_input_file(services, tenant, source.file.id, options)
    if source.job:
        return _items_of(services, tenant, source.job.id, options)
    pasted = read_prompts(typed.get("prompts", ""), typed.get("split", "line"))
    if options.template is not None:  # a prompt is its variable `text`, like a line of a text file
        return (Draft({"vars": {"text": each.text}}, line=each.line) for each in pasted)
    return (Draft({"prompt": each.text}, line=each.line) for each in pasted)


def _items_of(
    services: Services, tenant: str, job_id: str, options: UploadOptions
) -> Iterator[Draft]:
    """All items of another job, with all that belongs to them. Token ids mean something to its own
    model alone."""
    job, prep = services.store.job(job_id, tenant), services.store.prep(job_id)
    before = options_of(job.spec, prep)
    change = Change(
        templated=options.template is not None,
        is_new_template=options.template != before.template,
        other_tokenizer=options.model if options.model not in (None, job.model) else None,
    )
    return drafts_again(services, job, prep, ALL, change)
