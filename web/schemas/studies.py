"""The models of studies: outputs of jobs that people rate without knowing which job made them."""

from __future__ import annotations

from datetime import datetime
from math import comb
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, RootModel, StringConstraints, model_validator

from common.given import refuse
from common.params import Whole
from common.printable import CONTROL
from common.store.labels import LONGEST_LABEL
from web.schemas.base import Query, Schema

MOST_JOBS = 4
MOST_CRITERIA = 8
MOST_SAMPLE = 2000  # rows
MOST_WANTED = 10  # ratings of a task
MOST_VOTES = 50_000  # of a study: what its results can be computed of in two seconds
SCALE = 5  # the best of a scale; the worst is 1
SIDES = ("left", "right", "tie")
SKIP = "skip"

Criterion = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


def _one_line(names: list[str]) -> list[str]:
    if any(CONTROL.search(name) for name in names):
        raise refuse("must be lines of text, without control characters")
    return names


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise refuse("must not name the same twice")
    return names


class StudyRequest(Schema):
    """A study to be made of what jobs have generated."""

    jobs: Annotated[
        list[Annotated[str, StringConstraints(max_length=80)]],
        Field(min_length=1, max_length=MOST_JOBS, fail_fast=True),
        AfterValidator(_distinct),
    ] = Field(
        description="Jobs that are over: 2 to 4 for `pairs`, up to 4 for `scale`. Prompts are "
        "shown as in the first."
    )
    kind: Literal["pairs", "scale"] = Field(
        description="`pairs`: which of two outputs for a row is better. `scale`: an output by "
        "itself, from 1 to 5."
    )
    criteria: Annotated[
        list[Criterion],
        Field(min_length=1, max_length=MOST_CRITERIA, fail_fast=True),
        AfterValidator(_distinct),
        AfterValidator(_one_line),
    ] = Field(description="What is asked of each, in a word or two: `fluency`.")
    sample: Annotated[int, Whole] = Field(
        200, ge=1, le=MOST_SAMPLE, description="Rows that are rated, drawn from those that fit."
    )
    raters: Annotated[int, Whole] = Field(
        2, ge=1, le=MOST_WANTED, description="Ratings that each task is to get, by as many people."
    )

    @property
    def tasks_of_a_row(self) -> int:
        return comb(len(self.jobs), 2) if self.kind == "pairs" else len(self.jobs)

    @model_validator(mode="after")
    def _fits(self) -> StudyRequest:
        if self.kind == "pairs" and len(self.jobs) < 2:
            raise refuse("needs two jobs or more; give their ids in jobs")
        votes = self.sample * self.tasks_of_a_row * self.raters * len(self.criteria)
        if votes > MOST_VOTES:
            raise refuse(
                f"would take {votes:,} votes: sample × {self.tasks_of_a_row} tasks of a row × "
                f"raters × criteria; a study may have {MOST_VOTES:,}"
            )
        return self


class RaterRequest(Schema):
    """A person who is to rate."""

    name: str = Field(
        min_length=1, max_length=LONGEST_LABEL, description="Whom the link is for; shown to you."
    )


class RaterMade(BaseModel):
    """A new link; its address is told only now."""

    id: str
    name: str
    url: str


class RaterView(BaseModel):
    """A person who rates."""

    id: str
    name: str
    done: int = Field(description="Tasks that they have rated.")
    created_at: datetime
    revoked_at: datetime | None = Field(description="When the link ended; ratings stay.")


class StudyJobView(BaseModel):
    """A job as it was called when the study was made; it may be deleted since."""

    id: str
    name: str | None
    model: str


class StudyProgress(BaseModel):
    done: int = Field(description="Ratings that were given.")
    total: int = Field(description="`tasks` × `raters`.")


class StudyView(BaseModel):
    """A study. It has a copy of the texts."""

    id: str
    kind: Literal["pairs", "scale"]
    jobs: list[StudyJobView]
    criteria: list[str]
    matched_by: Literal["custom_id", "position"]
    matched: int = Field(description="Rows that succeeded in all jobs.")
    rows: int = Field(description="Rows that are rated.")
    left_out: int = Field(
        description="Rows that were drawn, too, but have no text, or one of more than 64 KiB."
    )
    tasks: int = Field(description="Pairs of outputs, or outputs, that are rated.")
    raters: int = Field(description="Ratings that each task is to get.")
    progress: StudyProgress
    created_at: datetime
    links: dict[str, str]


class Agreement(BaseModel):
    """Krippendorff's alpha."""

    alpha: float | None
    level: Literal["nominal", "ordinal"]
    reason: Literal["no_pairs", "no_variation"] | None = Field(
        description="Why there is no alpha: no task has two ratings, or all ratings are the same."
    )


class PairScore(BaseModel):
    """How a job did against the others."""

    job: str
    wins: int
    losses: int
    ties: int
    win_rate: float | None = Field(description="Of its votes; a tie is half a win.")
    strength: float = Field(description="Log-strength (Bradley and Terry); all add up to 0.")
    low: float | None = Field(description="Of the interval of 95 %; null under 20 rows.")
    high: float | None


class ScaleScore(BaseModel):
    """How a job was rated."""

    job: str
    votes: int
    mean: float | None
    low: float | None = Field(description="Of the interval of 95 %; null under 20 rows.")
    high: float | None
    counts: list[int] = Field(description="Votes for 1, 2, 3, 4 and 5.")


class CriterionResults(BaseModel):
    """What votes on one criterion amount to. Those who skip do not vote."""

    votes: int
    skips: int
    rows: int = Field(description="Rows with a vote.")
    prior: str | None = Field(description="Votes that strengths have besides those given.")
    jobs: list[PairScore] | list[ScaleScore]
    agreement: Agreement


class StudyDetail(StudyView):
    """A study with its people, and what their votes amount to."""

    people: list[RaterView]
    results: dict[str, CriterionResults] = Field(description="By criterion.")


class StudyList(BaseModel):
    data: list[StudyView]
    has_more: bool
    after: str | None = Field(description="Give this as `after` for the next page.")


class StudyPage(Query):
    after: str | None = Field(None, description="The id of a study: return those after it.")
    limit: int = Field(20, ge=1, le=50)


class PairTask(BaseModel):
    """Two outputs for a prompt."""

    task: str
    prompt: str
    left: str
    right: str
    criteria: list[str]
    done: int = Field(description="Tasks that this rater has rated.")
    total: int = Field(description="Tasks that this rater may come to rate.")


class ScaleTask(BaseModel):
    """An output for a prompt."""

    task: str
    prompt: str
    text: str
    criteria: list[str]
    done: int
    total: int


class NothingToRate(BaseModel):
    """This rater has rated all that there is for them."""

    task: None = None
    done: int
    total: int


class NextTask(RootModel[PairTask | ScaleTask | NothingToRate]):
    """What a rater is to rate now."""


class Answers(RootModel[dict[str, Any]]):
    """Every criterion with `left`, `right` or `tie`, or on a scale a number from 1 to 5; or with
    `skip`."""
