"""In which settings jobs differ: how their texts were made. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from common.store.job import Job
from common.store.job_prep import JobPrep
from common.store.rows import TEMPLATE_KWARGS, complete_params
from common.types import JsonObject

PREPARED = ("preset", "template", "clean", "truncate")


class Setting(NamedTuple):
    """`values` are in the order of the jobs; None where a job does not have it."""

    name: str
    values: list[Any]


def settings_of(job: Job, prep: JobPrep) -> JsonObject:
    """All that decides about a job's texts, but for its items and what these set themselves."""
    found: JsonObject = {"model": job.model, "digest": job.digest}
    found |= {name: prep.get(name) or None for name in PREPARED}
    found[TEMPLATE_KWARGS] = job.spec.get(TEMPLATE_KWARGS) or None
    params = {**complete_params(job.spec, {}), "seed": job.spec.get("params", {}).get("seed")}
    return found | {f"params.{name}": value for name, value in params.items()}


def differing(jobs: Sequence[JsonObject]) -> list[Setting]:
    """The settings that are not the same in all."""
    names = dict.fromkeys(name for job in jobs for name in job)
    found = [Setting(name, [job.get(name) for job in jobs]) for name in names]
    return [each for each in found if any(value != each.values[0] for value in each.values[1:])]
