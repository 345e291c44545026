"""Reads a draft as an item that is valid in itself: its fields, and that it has one prompt."""

from __future__ import annotations

from common.references import reference_of
from web.intake.drafts import Draft
from web.intake.faults import Broken, Fault
from web.schemas.requests import INPUTS, Item, JobOptions, UploadOptions


def read_item(draft: Draft, with_template: bool) -> Item:
    """
    Raises:
        ValidationError, Fault: it is no item, or none that this job can have.
    """
    if draft.fault:
        raise Broken(draft.code, draft.field, draft.fault)
    if draft.refused:
        why = draft.refused
        raise Fault(why["code"], why.get("field", ""), why["message"])
    if not isinstance(draft.value, dict):
        raise Fault(
            "wrong_type", "", 'an item must be an object, like {"prompt": "Once upon a time"}'
        )
    item = Item.model_validate(draft.value)
    given = [name for name in INPUTS if getattr(item, name) is not None]
    if with_template:
        _check_variables(item, given)
    elif len(given) != 1:
        raise Fault(
            "missing_field", "prompt", "give either prompt, prompt_ids or messages, one of them"
        )
    elif not getattr(item, given[0]) and (item.continuations is None or given[0] == "messages"):
        raise Fault("empty_prompt", given[0], f"{given[0]} must not be empty")
    return item


def _check_variables(item: Item, given: list[str]) -> None:
    if given:
        message = f"the job's template makes the prompts: give vars in place of {given[0]}"
        raise Fault("invalid_value", given[0], message)
    if item.vars is None:
        message = 'the job has a template: give its variables as vars, like {"text": "…"}'
        raise Fault("missing_field", "vars", message)


def has_reference(item: Item, options: JobOptions) -> bool:
    """Whether the item has one, as a field or in the column that is mapped to it."""
    if item.reference is not None:
        return True
    columns = options.columns if isinstance(options, UploadOptions) else None
    column = columns.reference if columns else None
    return column is not None and reference_of((item.vars or {}).get(column)) is not None
