"""Shows how the first items of a job would be read: their prompts as the model gets them, with
counts and errors. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from pydantic import ValidationError

from common.errors import ErrorDict
from web.intake.check import Intake
from web.intake.drafts import Draft
from web.intake.enqueue import with_defaults
from web.intake.faults import Fault, error_dicts
from web.intake.formats import Formats
from web.intake.presets import resolve_preset
from web.intake.prompts import Asked
from web.schemas.answers import ErrorEntry
from web.schemas.preview import PreviewRow, PreviewView
from web.schemas.requests import Item, JobOptions
from web.services.services import Services

# Characters of a text that is shown although the item cannot run; others are as long as the model
# takes them.
MOST_FAULTY = 65_536


def preview_job(
    services: Services, tenant: str, options: JobOptions, drafts: Iterable[Draft], rows: int
) -> PreviewView:
    """The first `rows` items, each with what is wrong with it; no further ones are read. To clean
    one may take a second: tenants take turns, two at once.

    Raises:
        InvalidRequest: the job as a whole is wrong: its template, its columns, its file.
        NotFound: no such model or preset.
        Unavailable: many previews are being made, and this one waited too long.
    """
    model = services.models.choose(options.model)
    options = with_defaults(resolve_preset(services, tenant, options), model.card)
    formats = Formats(services.grammars, tenant, model)
    intake = Intake(model, options, services.settings, formats)
    shown = []
    for draft in islice(drafts, rows):
        with services.previews.turn(tenant):
            shown.append(_row(intake, draft))
    return PreviewView(model=model.card.id, columns=intake.columns.names, rows=shown)


def _row(intake: Intake, draft: Draft) -> PreviewRow:
    item: Item | None = None
    asked: Asked | None = None
    tokens: int | None = None
    errors: list[ErrorDict] = []
    try:
        item = intake.read(draft)
        asked = intake.prompts.ask(item)
        (tokens,) = intake.prompts.counts([asked])
        intake.record(item, tokens, draft)
    except (Fault, ValidationError) as error:
        errors = error_dicts(error, draft, intake.options.params.model_fields_set)
    prepared = asked and asked.prepared
    return PreviewRow(
        line=draft.line,
        custom_id=_custom_id(item, draft),
        text=_text(intake, item, asked, bool(errors)),
        prompt_tokens=tokens,
        cleaned=prepared.cleaned if prepared else {},
        truncated_tokens=intake.prompts.truncated_tokens(asked) if asked else 0,
        errors=[ErrorEntry.model_validate(error) for error in errors],
    )


def _custom_id(item: Item | None, draft: Draft) -> str | None:
    """Also of a row that is no valid item, where it has one."""
    if item is not None:
        return item.custom_id
    given = draft.value.get("custom_id") if isinstance(draft.value, dict) else None
    return given[:256] if isinstance(given, str) else None


def _text(intake: Intake, item: Item | None, asked: Asked | None, faulty: bool) -> str | None:
    if item is None or asked is None:
        return None
    text = asked.text
    if item.prompt_ids is not None and intake.model.tokenizer is not None:
        text = intake.model.tokenizer.decode(item.prompt_ids)
    return None if faulty and text is not None and len(text) > MOST_FAULTY else text
