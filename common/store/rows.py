"""Rows: items of a job as users see them, made from what is stored. Knows no Redis."""

from __future__ import annotations

import logging
from typing import Any, Final

from common.params import SamplingParams
from common.result_row import Generated, ItemResult, Row
from common.store.job_spec import JobSpec
from common.store.packing import unpack
from common.store.records import Unreadable, reading
from common.stored_item import StoredItem
from common.types import ItemState

TEMPLATE_KWARGS: Final = "chat_template_kwargs"  # of a job's spec and of an item
NO_RESULT: Generated = {
    "outputs": [],
    "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
}

log = logging.getLogger(__name__)


def parse_result(blob: bytes) -> ItemResult:
    """A result as it is stored; `ValueError` where it has no shape that could be shown."""
    found: ItemResult = unpack(blob)
    if not isinstance(found.get("outputs", []), list) or not isinstance(
        found.get("usage", {}), dict
    ):
        raise ValueError("outputs or usage have another shape")
    return found


def unreadable_row(index: int, error: Unreadable, model: str, params: dict[str, Any]) -> Row:
    """What stands for an item whose record is damaged."""
    log.warning("%s: %s", error, error.__cause__)
    return row(
        index,
        {},
        ItemState.FAILED,
        {"error": {"code": error.code, "message": error.message}},
        model,
        params,
    )


def effective_params(spec: JobSpec, item: StoredItem) -> dict[str, Any]:
    """The job's params with the item's own over them."""
    return {**spec.get("params", {}), **item.get("params", {})}


DEFAULTS = SamplingParams.model_validate({}).model_dump(mode="json", exclude={"seed"})


def complete_params(spec: JobSpec, item: StoredItem) -> dict[str, Any]:
    """The same with all defaults, but without the seed. Both were stored as the model dumps them:
    nothing to check."""
    params = {**DEFAULTS, **effective_params(spec, item)}
    params.pop("seed", None)
    return params


def effective_template_kwargs(spec: JobSpec, item: StoredItem) -> dict[str, Any]:
    """The job's chat template's variables with the item's own over them."""
    return {**spec.get("chat_template_kwargs", {}), **item.get("chat_template_kwargs", {})}


def answer(
    job_id: str,
    index: int,
    item: StoredItem | None,
    state: int,
    blob: bytes,
    spec: JobSpec,
    params: dict[str, Any],
) -> tuple[StoredItem, Row]:
    """An item and its row, made of its state's byte, its result as stored (b"" for none) and the
    job's complete params. Where these are damaged, which is an item of None, the item is empty and
    the row says so."""
    try:
        with reading(f"item {index} of {job_id}"):
            if item is None:
                raise ValueError("its chunk cannot be read")
            own = complete_params(spec, item) if "params" in item else params
            status = ItemState.from_byte(chr(state))
            result = parse_result(blob) if blob else None
            return item, row(index, item, status, result, spec["model"], own)
    except Unreadable as error:
        return {}, unreadable_row(index, error, spec["model"], params)


def row(
    index: int,
    item: StoredItem,
    state: ItemState,
    result: ItemResult | None,
    model: str,
    params: dict[str, Any],
) -> Row:
    """One item as users see it; `params` are complete, as they took effect."""
    found = result or {}
    if "continuations" in found:
        texts = item.get("continuations", [])
        pairs = zip(texts, found["continuations"], strict=True)
        found = {**found, "continuations": [{"text": text, **score} for text, score in pairs]}
    return {
        "index": index,
        "custom_id": item.get("custom_id"),
        "status": state.value,
        **NO_RESULT,
        "prompt_logprobs": None,
        "error": None,
        "params": params,
        "seed": None,
        "attempts": 0,
        "queued_s": None,
        "run_s": None,
        "worker": None,
        "model": model,
        "metadata": item.get("metadata", {}),
        **found,
    }
