"""By which metrics a job's outputs are scored when it ends."""

from __future__ import annotations

from common.errors import ErrorDict
from common.store.evaluations import Asked
from evals.registry import DEFAULT, METRICS
from web.intake.totals import Totals
from web.schemas.metrics import names_of
from web.schemas.requests import JobOptions


def asked_at_end(options: JobOptions, totals: Totals) -> Asked | None:
    """The evaluation that begins by itself when the job ends; None for none.

    It has the metrics that were asked for, without those that compare with references where no item
    has one: these may be given later, with an evaluation of their own.
    """
    if not options.evaluate:
        return None
    wanted = options.metrics or (list(DEFAULT) if totals.referenced else [])
    names = names_of(wanted)
    if not totals.referenced:
        wanted = [
            entry
            for entry, name in zip(wanted, names, strict=True)
            if METRICS[name].needs != "references"
        ]
    return Asked(wanted, []) if wanted else None


def asked_with_more(options: JobOptions, totals: Totals) -> str:
    """The same once more items are added, as the job's record keeps it; empty where they change
    nothing: only references do, which the items before may not have had."""
    asked = asked_at_end(options, totals) if totals.referenced else None
    return asked.to_json() if asked else ""


def metric_fault(options: JobOptions, totals: Totals) -> ErrorDict | None:
    """What is wrong with the metrics that a job asks for: one that no item can have, because of the
    job's own parameters."""
    if totals.with_logprobs or options.params.logprobs is not None:  # the items may come later
        return None
    for place, name in enumerate(names_of(options.metrics)):
        if METRICS[name].needs == "logprobs":
            return no_logprobs(f"metrics.{place}", name)
    return None


def no_logprobs(field: str, name: str) -> ErrorDict:
    """`field` is what names the metric."""
    message = (
        f"{name} needs log-probabilities, and no item of the job keeps them: submit it with "
        '"params": {"logprobs": 0}, or leave this metric out'
    )
    return {"code": "unsupported", "message": message, "field": field}
