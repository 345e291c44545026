"""The answer that tells what a judge found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from web.schemas.base import Query

Better = Literal["a", "b", "tie"]


class VerdictPage(Query):
    """Which rows of a judge."""

    after: int = Field(-1, ge=-1, lt=2**31, description="Return those after this row.")
    limit: int = Field(100, ge=1, le=1000)
    study: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="A study in which people rated the same outputs: how far they agree with the "
        "judge.",
    )


class VerdictView(BaseModel):
    """What the judge found of one row. A `scale` has grades, `pairs` have the other three."""

    row: int = Field(description="The number of the row in the judge, from 0.")
    custom_id: str | None
    index: dict[str, int] = Field(
        description="Where the row is in the sources: by `a` and `b`, the jobs in the order of "
        "input_from; of one source by `a` alone."
    )
    first: Better | None = Field(
        None, description="Which was found better where that of `a` was shown as A."
    )
    second: Better | None = Field(
        None, description="Which was found better where that of `b` was shown as A."
    )
    verdict: Better | None = Field(
        None, description="Where the two agree, that; a tie where they do not. Null: not judged."
    )
    grade: float | None = Field(None, description="Null: not judged.")


class VerdictTotals(BaseModel):
    """Of all rows that the judge has. What is not of its kind is null."""

    rows: int
    judged: int = Field(description="Rows with a verdict or a grade.")
    wins_a: int | None = None
    ties: int | None = Field(None, description="Those with contradicting verdicts among them.")
    wins_b: int | None = None
    contradictions: int | None = Field(
        None, description="Rows whose verdict changed with the order: they count as ties."
    )
    mean: float | None = Field(None, description="Of the grades.")
    grades: dict[str, int] | None = Field(None, description="How often each was given.")


class CriterionAgreement(BaseModel):
    ratings: int = Field(description="Of rows that were judged, without skipped ones.")
    agreed: int = Field(description="Those that say what the judge said.")
    alpha: float | None = Field(
        description="Krippendorff's, of the judge and a person: nominal for pairs, ordinal for "
        "scales. 0: as by chance."
    )
    reason: Literal["no_pairs", "no_variation"] | None = Field(description="Why alpha is null.")


class JudgeAgreement(BaseModel):
    study: str
    criteria: dict[str, CriterionAgreement]


class VerdictList(BaseModel):
    judge: Literal["pairs", "scale"]
    data: list[VerdictView]
    totals: VerdictTotals
    agreement: JudgeAgreement | None = Field(
        None, description="With people's ratings, where a study is named."
    )
    has_more: bool
    after: int | None = Field(description="Give this as `after` for the next page.")
