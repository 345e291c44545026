"""Fills the form in like a job that was submitted before ("Run again")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.result_row import ItemPrompt
from web.jobs.item_views import item_rows
from web.jobs.views import job_view
from web.pages.metric_fields import typed_metrics
from web.pages.output_fields import typed_output
from web.pages.param_fields import param_fields, typed_value
from web.pages.pasted_prompts import read_prompts
from web.pages.preparation import typed_preparation
from web.services.services import Services

MOST_REFILLED = 200  # prompts that are put into the text box; those of a larger job stay with it


def typed_like(services: Services, tenant: str, job_id: str) -> dict[str, str]:
    """What somebody would have typed for a job like this one, by input name. Items that the text
    box would not give back unchanged, or are too many for it, are named by their job (`like`)."""
    job = job_view(services, job_id, tenant)
    rows = item_rows(services, job_id, tenant, 0, MOST_REFILLED + 1)
    prep, spec = services.store.prep(job_id), services.store.job(job_id, tenant).spec
    # What the model's card gave was not typed; another model has its own defaults.
    given = {k: v for k, v in job.params.items() if k not in spec.get("defaulted", ())}
    typed = typed_preparation(
        prep.get("template"), prep.get("clean", []), prep.get("truncate")
    ) | refill(job.model, given, job.metadata, rows)
    typed |= typed_metrics(job.metrics)
    return typed if "prompts" in typed else {**typed, "like": job_id}


def refill(
    model: str, params: Mapping[str, Any], metadata: Mapping[str, Any], rows: Sequence[ItemPrompt]
) -> dict[str, str]:
    """The fields of the job, and its prompts if the text box would give them back unchanged."""
    typed = {"model": model, "metadata.name": str(metadata.get("name") or "")}
    typed |= typed_output(params)
    for field in param_fields():
        if params.get(field.name) is not None:
            typed[field.input] = typed_value(field.kind, params[field.name])
    chats = [_question(row) for row in rows]
    prompts = chats if all(chats) else [row.get("prompt") for row in rows]
    if len(prompts) <= MOST_REFILLED and all(prompts):
        texts = [str(prompt) for prompt in prompts]
        typed["reads"] = "chat" if all(chats) else "text"
        split, glue = ("blank", "\n\n") if any("\n" in text for text in texts) else ("line", "\n")
        joined = glue.join(texts)
        if [prompt.text for prompt in read_prompts(joined, split)] == texts:
            typed |= {"prompts": joined, "split": split}
    return typed


def _question(row: ItemPrompt) -> str | None:
    """The text of a chat that is one user's message, as `as_chat` makes it; None for another."""
    match row.get("messages"):
        case [{"role": "user", "content": str(content)}]:
            return content
    return None
