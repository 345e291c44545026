"""The models of comparisons: two to four jobs of the same items, the first of which is the
baseline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from common.given import refuse
from common.result_row import RowError
from common.types import ItemState
from web.schemas.base import Query

FEWEST_JOBS, MOST_JOBS = 2, 4
# The same as a pattern, for the specification.
NAMED = rf"^[^,\s]+(,[^,\s]+){{{FEWEST_JOBS - 1},{MOST_JOBS - 1}}}$"


def _named(value: str) -> str:
    if message := wrong_number(ids_of(value)):
        raise refuse(message)
    return value


def wrong_number(ids: list[str]) -> str:
    """What is wrong with how many jobs are named; empty if nothing is."""
    if FEWEST_JOBS <= len(ids) <= MOST_JOBS:
        return ""
    jobs = "job" if len(ids) == 1 else "jobs"
    return f"names {len(ids)} {jobs}; it takes {FEWEST_JOBS} to {MOST_JOBS}, with commas"


def ids_of(jobs: str) -> list[str]:
    """The ids in a list with commas."""
    return [part.strip() for part in jobs.split(",") if part.strip()]


RowFilter = Literal["all", "changed", "better", "worse", "failed"]


class ComparedJobs(Query):
    jobs: Annotated[str, AfterValidator(_named)] = Field(
        max_length=400,
        json_schema_extra={"pattern": NAMED},
        description="Ids of two to four jobs with commas; the first is the baseline. One may be "
        "there twice.",
    )

    @property
    def ids(self) -> list[str]:
        return ids_of(self.jobs)


class ComparisonQuery(ComparedJobs):
    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait until it is computed before answering."
    )


class RowsQuery(ComparedJobs):
    """Which rows of a comparison."""

    filter: RowFilter = Field(
        "all",
        description="`changed`: an output differs from the baseline's. `better`, `worse`: a job "
        "does better or worse than the baseline by `metric`. `failed`: an item has no result.",
    )
    metric: str | None = Field(
        None,
        max_length=64,
        description="What `difference`, `better` and `worse` go by; else the first metric that "
        "has a better direction.",
    )
    after: int = Field(
        -1, ge=-1, lt=2**31, description="Rows after this item of the baseline, by its index."
    )
    limit: int = Field(20, ge=1, le=100)


class Difference(BaseModel):
    """A job's value less the baseline's: positive is greater, not better."""

    value: float | None
    low: float | None = Field(description="From `low` to `high` with 95 % confidence.")
    high: float | None
    p: float | None = Field(description="Null, as the interval, with fewer than 20 rows.")
    p_holm: float | None = Field(description="Corrected for the number of metrics and jobs.")
    wins: int | None = Field(description="Rows that the job does better; null without a direction.")
    ties: int | None
    losses: int | None


class MetricOfJob(BaseModel):
    job: str
    value: float | None = Field(description="The score over the rows that count.")
    difference: Difference | None = Field(description="Null for the baseline.")


class ComparedMetric(BaseModel):
    metric: str
    better: Literal["higher", "lower"] | None
    n: int = Field(description="Rows that are scored in all jobs: only these count.")
    jobs: list[MetricOfJob] = Field(description="In the order in which they were named.")


class LeftOut(BaseModel):
    """A metric that not all evaluations have, or that they made in different ways."""

    metric: str
    reason: Literal["not_in_all", "signatures_differ"]


class Matched(BaseModel):
    """Which items belong together."""

    by: Literal["custom_id", "position"]
    reason: Literal["no_custom_ids", "duplicate_custom_ids"] | None = Field(
        description="Why they are not matched by custom_id."
    )
    rows: int = Field(description="Items that all jobs have.")
    succeeded: int = Field(description="Those that all jobs have a result of.")
    changed: int = Field(description="Those of which an output differs from the baseline's.")
    unmatched: list[int] = Field(description="Items of each job that not all have.")
    unlike_references: int | None = Field(
        None,
        description="Rows that were not compared with the same references in all jobs; null if "
        "no metric takes references.",
    )


class SettingView(BaseModel):
    """A setting in which the jobs differ, with its value in each."""

    name: str = Field(examples=["params.temperature"])
    values: list[JsonValue]


class Spread(BaseModel):
    mean: float
    p10: float
    p50: float
    p90: float
    p99: float


class JobFigures(BaseModel):
    """One of the jobs, with figures of the rows that all jobs have a result of."""

    id: str
    name: str | None
    model: str
    evaluation: str = Field(description="Whose scores count: its newest evaluation that is done.")
    retries: list[str] = Field(description="Its retries, whose rows do not count here.")
    run_s: Spread | None = Field(None, description="Seconds that an item ran.")
    tokens: Spread | None = Field(None, description="Tokens generated for an item.")
    finish_reasons: dict[str, int] = Field({}, description="Outputs by why they ended.")


class ComparisonView(BaseModel):
    """A comparison. While it is `running`, only its jobs and their settings are known."""

    status: Literal["running", "done"]
    jobs: list[JobFigures]
    settings: list[SettingView] = Field(description="Settings in which the jobs differ.")
    matched: Matched | None = None
    metrics: list[ComparedMetric] = []
    left_out: list[LeftOut] = []
    links: dict[str, str]


class ComparedRow(BaseModel):
    """Items that belong together. Objects have an entry for each job, by its id."""

    custom_id: str | None
    index: dict[str, int]
    status: dict[str, ItemState]
    outputs: dict[str, list[str]]
    shortened: bool = Field(description="Whether an output was cut to its first 65,536 characters.")
    errors: dict[str, RowError] = Field(description="Of items that failed.")
    scores: dict[str, dict[str, float | None]]
    difference: dict[str, float | None] = Field(
        description="The jobs' scores by `metric`, less the baseline's."
    )


class ComparedRows(BaseModel):
    status: Literal["running", "done"]
    metric: str | None = Field(description="What `difference` goes by.")
    data: list[ComparedRow]
    has_more: bool
    after: int | None = Field(
        description="Give this as `after` for the next page. A page may have fewer rows than there "
        "are, or none, where many had to be looked at."
    )
