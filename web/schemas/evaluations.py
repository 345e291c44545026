"""The models of evaluations: which metrics and gates a request may ask for, and how scores are
answered."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from common.given import refuse
from common.types import JsonObject
from evals.gates import MIN_COVERAGE, Rule
from evals.registry import METRICS
from web.schemas.answers import ErrorEntry
from web.schemas.base import Query, Schema, either
from web.schemas.metrics import NAMES, MetricEntry, Metrics, checked
from web.schemas.preparation import Reference

MOST_RULES = 32  # of a gate


class GateRule(Schema):
    """What a metric must reach: `min`, `max`, or no more than `max_drop` worse than `baseline`."""

    model_config = ConfigDict(
        json_schema_extra=either(
            "min", "max", "max_drop", empty=(), only_with={"max_drop": ["baseline"]}
        )
    )

    metric: Annotated[str, WithJsonSchema(NAMES)] = Field(
        description="It is scored, whether `metrics` names it or not."
    )
    min: float | None = Field(None, description="Passes if the whole interval is at least this.")
    max: float | None = Field(None, description="Passes if the whole interval is at most this.")
    baseline: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="A job of yours that was evaluated; with `max_drop`."
    )
    max_drop: float | None = Field(
        None,
        ge=0,
        description="Passes if the job is certainly no worse than the baseline by more than this.",
    )
    min_coverage: float = Field(
        MIN_COVERAGE, ge=0, le=1, description="Below this share of scored items it is undecided."
    )

    @model_validator(mode="after")
    def _is_a_rule(self) -> GateRule:
        if self.metric not in METRICS:
            checked(self.metric)
        try:
            self.rule()
        except ValueError as error:
            raise refuse(f"is wrong: {error}") from None
        return self

    def rule(self) -> Rule:
        return Rule(**self.model_dump())

    def stored(self) -> JsonObject:
        """The fields of `Rule`, as the store keeps them."""
        return asdict(self.rule())


class EvaluationOptions(Schema):
    """An evaluation without its references: the form part `evaluation`, sent with a file."""

    metrics: Metrics = Field(
        [],
        description="The job's own where none is given, else `chrf`, `rouge_l`, `token_f1`, "
        "`exact_match` and `length_tokens`.",
    )
    gate: Annotated[list[GateRule], Field(max_length=MOST_RULES, fail_fast=True)] = Field(
        [], description="Rules that the scores pass, fail, or leave undecided."
    )


class EvaluationRequest(EvaluationOptions):
    """An evaluation of a job that is over."""

    references: dict[str, Reference | None] | list[Reference | None] | None = Field(
        None,
        description="What the outputs are compared with, by custom_id, or a list with an entry for "
        "each item, null for none. The items' own where none are given.",
    )


class EvaluationWait(Query):
    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait for the end of the evaluation."
    )


class Progress(BaseModel):
    done: int = Field(description="Items that are scored.")
    total: int


class HistogramView(BaseModel):
    """`counts[i]` items have a score from `edges[i]` to `edges[i + 1]`."""

    edges: list[float]
    counts: list[int]


class MetricSummary(BaseModel):
    """One metric over the job. `low` and `high` are an interval of 95 %."""

    n: int = Field(description="Items with a score.")
    nulls: int = Field(description="Items that could have had a score and have none.")
    failed_items: int = Field(description="Items without an output.")
    coverage: float | None = Field(description="`n` by `n`, `nulls` and `failed_items` together.")
    value: float | None = Field(description="The job's score.")
    low: float | None = Field(description="Null for fewer than 20 items.")
    high: float | None
    mean: float | None = Field(description="Of the items' scores, as the rest.")
    quartiles: list[float] | None
    histogram: HistogramView | None


GateStatus = Literal["passed", "failed", "undecided"]


class RuleVerdict(BaseModel):
    metric: str
    status: GateStatus
    reason: str | None = Field(
        None,
        description="Why it is undecided: `too_few`, `coverage`, `baseline_gone`, `no_metric` or "
        "`straddles`.",
    )


class GateView(BaseModel):
    """Failed if a rule failed, else undecided if one is, else passed."""

    status: GateStatus
    rules: list[RuleVerdict]


class EvaluationView(BaseModel):
    """An evaluation as users see it."""

    id: str
    job: str
    status: Literal["queued", "running", "done", "failed"]
    origin: Literal["job", "request"] = Field(
        description="`job`: it began by itself when the job ended."
    )
    metrics: list[MetricEntry]
    progress: Progress
    summary: dict[str, MetricSummary] = Field(description="By metric; empty until it is done.")
    signatures: dict[str, str] = Field(
        description="How scores were made, of metrics that have a convention for that."
    )
    gate: GateView | None = Field(description="Null without rules, and until it is done.")
    error: ErrorEntry | None = Field(description="Why it failed.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]


class EvaluationList(BaseModel):
    """The evaluations of a job, newest first; it has 20 at most."""

    data: list[EvaluationView]
