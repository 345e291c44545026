"""The models of answers that sum up the items of a job: what its charts show, and its errors."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class TimeBin(BaseModel):
    """What ended in `seconds` from `start` on."""

    start: datetime
    finished: int = Field(description="Items that ended in it with a result, failed ones included.")
    failed: int = Field(description="Of them, those that failed.")
    done: int = Field(description="Items that had a result at its end.")
    tokens_per_s: float = Field(
        description="Tokens generated in it; an item's are spread evenly over the time it ran."
    )


class LengthBin(BaseModel):
    """Continuations of `low` to `high` generated tokens, both included."""

    low: int
    high: int
    outputs: int


class JobSummary(BaseModel):
    """What the charts of a job show, made from the items that have a result so far.

    Of a job with more than 4,096 of them only every `every`-th is read, in order of completion, and
    all counts are multiplied by `every`: they are estimates then.
    """

    finished: int = Field(description="Items with a result so far.")
    read: int = Field(description="Results that were read for this.")
    every: int = Field(description="One of so many was read; 1: all, and the counts are exact.")
    complete: bool = Field(
        description="False if reading would have taken too long: ask again, and more is read."
    )
    seconds: float = Field(description="The length of an entry of `timeline`.")
    timeline: list[TimeBin] = Field(description="At most 60, from the start of the job.")
    lengths: list[LengthBin] = Field(description="At most 20, from the shortest to the longest.")
    finish_reasons: dict[str, int] = Field(description="Continuations by why they ended.")


class ErrorGroup(BaseModel):
    """Items that failed with the same code, and with messages that differ in numbers only."""

    code: str = Field(description="What `errors` of a rerun, and `error` of a list of items, take.")
    message: str = Field(
        description="The message, each number as `N`; empty for all others of this code."
    )
    example: str = Field(description="The message of one of them.")
    count: int
    first: list[int] = Field(description="The lowest indices, at most 10, in ascending order.")


class ErrorGroups(BaseModel):
    """The failures of a job, the largest group first."""

    data: list[ErrorGroup]
    failed: int = Field(description="Items that have failed so far.")
    complete: bool = Field(
        description="False if reading would have taken too long: ask again, and more is read."
    )
