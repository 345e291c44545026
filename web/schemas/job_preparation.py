"""What a job's answer says of how its prompts are made."""

from __future__ import annotations

from pydantic import BaseModel, Field

from common.store.job_prep import TemplateDict, Truncate


class JobPreparation(BaseModel):
    """Lists of jobs and events leave it out: it may be long, and does not change."""

    template: TemplateDict | None = Field(
        None, description="As the job, or its preset, gave it. Null in lists and events."
    )
    clean: list[str] = Field([], description="Empty in lists and events.")
    truncate: Truncate | None = Field(None, description="Null in lists and events.")
    preset: str | None = Field(
        None, description="The preset that took effect, with its version. Null in lists and events."
    )
    columns: list[str] = Field(
        [], description="The names of the items' variables, in order. Empty in lists and events."
    )
