"""The models of the native API's queries: which page of a list is wanted, and how long to wait."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from common.errors import InvalidRequest
from common.types import ItemState
from web.schemas.base import Query

# `paused` jobs are queued or running, too, and `failed` are jobs of any state with failed items.
JobFilter = Literal["queued", "running", "paused", "completed", "failed", "cancelled", "expired"]


JobOrder = Literal[
    "created",
    "-created",
    "name",
    "-name",
    "status",
    "-status",
    "duration",
    "-duration",
    "items",
    "-items",
]
BY_TIME: tuple[JobOrder, ...] = ("created", "-created")


class JobPage(Query):
    """Which of the tenant's jobs: what is given must all hold."""

    after: str | None = Field(None, description="The id of a job: return those after it.")
    limit: int = Field(20, ge=1, le=100)
    search: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description=(
            "Only jobs that contain this in their id or metadata, such as their name. Upper and "
            "lower case are the same."
        ),
    )
    status: JobFilter | None = Field(
        None, description="Only jobs in this state; `failed`: with failed items."
    )
    model: str | None = Field(
        None, min_length=1, max_length=256, description="Only jobs of this model."
    )
    sweep: str | None = Field(
        None, min_length=1, max_length=64, description="Only jobs of this sweep, by its id."
    )
    order: JobOrder = Field(
        "-created",
        description=(
            "`-created`: the newest first. By `name`, `status`, `duration` (seconds that it ran) "
            "or `items` only the newest 1,000 jobs are sorted; a minus sign: the last or largest "
            "first. Jobs without a name, or not started, come last."
        ),
    )

    @property
    def searches(self) -> bool:
        """Whether some jobs are left out."""
        return bool(self.search or self.status or self.model or self.sweep)

    @property
    def sorts(self) -> bool:
        """Whether their order is another than that of their submission."""
        return self.order not in BY_TIME


class SweepPage(Query):
    after: str | None = Field(None, description="The id of a sweep: return those after it.")
    limit: int = Field(20, ge=1, le=50)


Order = Literal["index", "-index", "finished", "-finished"]


INCLUDE: Any = Field(
    None,
    description=(
        "`prompt`: each item with `rendered`, its prompt as the model reads it, after cleaning, "
        "truncation and the template."
    ),
)


EVALUATION: Any = Field(
    None,
    min_length=1,
    max_length=80,
    description="The evaluation whose `scores` rows have; the newest that is done if not given.",
)


class ItemPage(Query):
    """Which items of a job: what is given must all hold."""

    after: int = Field(
        -1,
        ge=-1,
        lt=2**31,
        description=(
            "Return those after this one, in the wanted order: an item's index or, by time of "
            "completion, its place in that order (`after` of the page before)."
        ),
    )
    limit: int = Field(100, ge=1, le=1000)
    order: Order = Field(
        "index",
        description=(
            "`finished`: by when they ended, only those with a result; a minus sign: the last "
            "first."
        ),
    )
    state: ItemState | None = Field(None, description="Only items in this state.")
    error: str | None = Field(
        None, min_length=1, max_length=64, description="Only failed items with this error code."
    )
    id: str | None = Field(
        None, min_length=1, max_length=512, description="Only items whose custom_id contains this."
    )
    text: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description=(
            "Only items that contain this in their prompt, messages, vars, reference, metadata "
            "or outputs. Upper and lower case are the same, here and in `id`."
        ),
    )

    include: Literal["prompt"] | None = INCLUDE
    evaluation: str | None = EVALUATION

    @property
    def renders(self) -> bool:
        """Whether rendered prompts are wanted."""
        return self.include == "prompt"

    @property
    def searches(self) -> bool:
        """Whether this is more than the next items in order."""
        return bool(self.state or self.error or self.id or self.text) or self.order != "index"


class ResultsQuery(Query):
    """What a file of results is to have."""

    params: Literal["own", "full"] = Field(
        "own",
        description=(
            "Of results.jsonl: an item's parameters that differ from its job's, or all of them."
        ),
    )
    bom: bool = Field(
        False,
        description="Of results.csv: begin with a byte-order mark, by which Excel knows UTF-8.",
    )
    guard: bool = Field(
        True,
        description="Of results.csv: 0 leaves text alone that a spreadsheet takes for a formula.",
    )

    flatten: bool = Field(
        False,
        description=(
            "Of results.csv and results.parquet: 1 adds a column for each field of the objects "
            "that were generated as JSON, `output.name`, up to 200."
        ),
    )
    merge: Literal["retries"] | None = Field(
        None,
        description=(
            "`retries`: in place of an item's row that of its newest retry that succeeded, else of "
            "the newest, with `retried_in`."
        ),
    )
    include: Literal["prompt"] | None = INCLUDE
    evaluation: str | None = EVALUATION

    @property
    def renders(self) -> bool:
        """Whether rendered prompts are wanted."""
        return self.include == "prompt"

    def refuse_others(self, form: str) -> None:
        """
        Raises:
            InvalidRequest: something is given that this form has no use for.
        """
        tables = ["csv", "parquet"]
        forms = {"params": ["jsonl"], "bom": ["csv"], "guard": ["csv"], "flatten": tables}
        for name in self.model_fields_set & forms.keys():
            if form not in forms[name]:
                fitting = " and ".join(f"results.{each}" for each in forms[name])
                message = f"{name} is for {fitting}, and means nothing for .{form}"
                raise InvalidRequest(message, code="invalid_value", field=name)


class Wait(Query):
    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait for the end of the job before answering."
    )


class EventCursor(Query):
    after: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Finished items already received; the header Last-Event-ID overrides it.",
    )


class PreviewRows(Query):
    rows: int = Field(3, ge=1, le=20, description="How many of the first rows are shown.")


class ScoreRange(Query):
    """Which scores items must have, and whether the list is in their order."""

    metric: str = Field(min_length=1, max_length=64)
    least: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)
    order: Literal["score", "-score"] | None = None
