"""The table of a job's items: which of them a request's address asks for, and its columns.

Everything that was chosen is in the address, so that a view can be kept, sent and gone back to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.result_row import InputRow, RowOutput
from common.store.rows import complete_params
from common.types import ItemState
from web.follow.stream_cursor import StreamCursor
from web.intake.validation_messages import validated
from web.jobs.item_search import find_items
from web.jobs.item_views import item_rows
from web.pages.filters import CLIP
from web.pages.item_pages import PAGE, Page, page
from web.pages.job_evaluations import (
    SCORE_CHOICES,
    SCORE_ORDERS,
    JobEvaluations,
    ScoreColumns,
    score_columns,
    score_view,
)
from web.pages.json_columns import JsonColumns, json_columns
from web.schemas.answers import JobView
from web.schemas.queries import ItemPage
from web.services.services import Services

FEW_LINES = 400  # characters: more than the few lines hold that are shown of each text
MOST_COLUMNS = 6  # of the input, and as many of parameters; an item's page has all
# What the form above the table sends.
CHOICES = ("state", "error", "id", "text", "order", *SCORE_CHOICES)
ORDERS = {
    "index": "First to last",
    "-index": "Last to first",
    "finished": "First finished first",
    "-finished": "Last finished first",
}


@dataclass(frozen=True)
class ItemTable:
    """A part of a job's items. `page` is its place in all of them, None if they are searched for:
    then `after` is where the next part begins, and None at the end. `looked` is how many items a
    search that ran out of time has looked at."""

    rows: Sequence[InputRow]
    chosen: Mapping[str, str]  # of `CHOICES`, what was given
    full: bool  # long texts are not cut to a few lines
    page: Page | None
    after: int | None
    looked: int | None
    columns: Sequence[str]  # of the input
    json: JsonColumns
    hidden: int  # columns of the input, and fields of the output, that are not shown
    params: Sequence[str]  # those that not all items of this part share with the job
    has_prompt: bool
    said: Mapping[int, Sequence[str]]  # of streamed items that run: each continuation so far
    scores: ScoreColumns
    kept: Mapping[str, str]  # what else the address said, which links to other lists say, too

    @property
    def clip(self) -> int:
        """How many characters of each text are shown."""
        return CLIP if self.full else FEW_LINES

    @property
    def has_output(self) -> bool:
        """Whether there is anything to show of the outputs that the columns do not have."""
        return not self.json.names or any(map(self._has_more, self.rows))

    def _has_more(self, row: InputRow) -> bool:
        outputs, index = row["outputs"], row["index"]
        is_plain = len(outputs) <= 1 and not any(map(_is_noted, outputs))
        held = all(self.json.holds(index, number) for number in range(len(outputs)))
        return bool(row["error"] or row.get("continuations") or index in self.said) or not (
            is_plain and held
        )

    @property
    def item_place(self) -> dict[str, str]:
        """What an item's link has, so that its page leads back to this list."""
        return {**self.chosen, **self.kept}

    @property
    def other_rows(self) -> dict[str, str]:
        """The same items with full texts, or again with a few lines of each."""
        number = {"page": str(self.page.number)} if self.page and self.page.number > 1 else {}
        others = {name: value for name, value in self.kept.items() if name != "rows"}
        return {**self.chosen, **others, **number, **({} if self.full else {"rows": "full"})}

    def by_score(self, metric: str) -> dict[str, str]:
        """The same items by this metric, the lowest first; where they are so, the highest first."""
        is_so = self.chosen.get("order") == "score" and self.chosen.get("metric") == metric
        return {**self.item_place, "metric": metric, "order": "-score" if is_so else "score"}

    def sorted_by(self, metric: str) -> str:
        """In which direction the items are in this metric's order, as `aria-sort` has it."""
        if self.chosen.get("metric") != metric:
            return ""
        orders = {"score": "ascending", "-score": "descending"}
        return orders.get(self.chosen.get("order", ""), "")


def choices(args: Mapping[str, str]) -> dict[str, str]:
    """What an address chooses of `CHOICES`."""
    chosen = {name: args[name] for name in CHOICES if args.get(name)}
    if chosen.get("order") == "index":
        del chosen["order"]
    says_scores = chosen.get("order") in SCORE_ORDERS or "least" in chosen or "below" in chosen
    return chosen if says_scores else {n: chosen[n] for n in chosen if n != "metric"}


def item_table(
    services: Services,
    tenant: str,
    job: JobView,
    args: Mapping[str, str],
    evaluations: JobEvaluations,
) -> ItemTable:
    """The items that an address asks for.

    Raises:
        InvalidRequest: a choice has a value that there is not.
    """
    chosen = choices(args)
    if chosen:
        return _found(services, tenant, job, args, chosen, evaluations)
    number = args.get("page", "")
    shown = page(int(number) if number.isdecimal() and len(number) < 10 else 1, job.counts.total)
    rows = item_rows(
        services,
        job.id,
        tenant,
        shown.first,
        shown.end - shown.first,
        evaluation=evaluations.scores_of,
    )
    return _table(services, job, rows, args, evaluations, chosen=chosen, page=shown)


def item_query(chosen: Mapping[str, str], **more: Any) -> ItemPage:
    """What `chosen` says of items, but for their scores."""
    found = {name: value for name, value in chosen.items() if name not in SCORE_CHOICES}
    if found.get("order") in SCORE_ORDERS:
        del found["order"]
    return validated(ItemPage, {**found, **more})


def _found(
    services: Services,
    tenant: str,
    job: JobView,
    args: Mapping[str, str],
    chosen: dict[str, str],
    evaluations: JobEvaluations,
) -> ItemTable:
    after = args.get("after", "-1")
    number = int(after) if re.fullmatch(r"-?[0-9]{1,10}", after) else after
    wanted = item_query(chosen, limit=PAGE, after=number, evaluation=evaluations.scores_of)
    view = score_view(services, job, evaluations, chosen)
    found = find_items(services, job.id, tenant, wanted, view)
    rows: list[Any] = [row.model_dump() for row in found.data]
    looked = None
    if found.searched_to is not None:
        backwards = wanted.order == "-index"
        looked = job.counts.total - found.searched_to if backwards else found.searched_to + 1
    return _table(
        services, job, rows, args, evaluations, chosen=chosen, after=found.after, looked=looked
    )


def _table(
    services: Services,
    job: JobView,
    rows: Sequence[InputRow],
    args: Mapping[str, str],
    evaluations: JobEvaluations,
    *,
    chosen: Mapping[str, str],
    page: Page | None = None,
    after: int | None = None,
    looked: int | None = None,
) -> ItemTable:
    has_prompt = any(_prompt(row) for row in rows)
    names = dict.fromkeys(name for row in rows for name in row.get("vars") or {})
    columns = [name for name in names if not _is_prompt(name, rows)]
    fields = json_columns(job, rows)
    scores = score_columns(evaluations, chosen.get("metric", ""))
    kept = {"rows": "full"} if args.get("rows") == "full" else {}
    return ItemTable(
        rows,
        chosen,
        args.get("rows") == "full",
        page,
        after,
        looked,
        columns[:MOST_COLUMNS],
        fields,
        len(columns[MOST_COLUMNS:]) + fields.hidden + scores.hidden,
        varying(job, rows)[:MOST_COLUMNS],
        has_prompt or not columns,
        said(services, job.id, rows),
        scores,
        kept | ({"evaluation": evaluations.named} if evaluations.named else {}),
    )


def said(services: Services, job_id: str, rows: Sequence[InputRow]) -> dict[int, list[str]]:
    """What those rows have said so far that are streamed and run."""
    running = [row["index"] for row in rows if row["status"] == ItemState.RUNNING]
    found: dict[int, list[str]] = {}
    for piece in StreamCursor().take(services.store.said(job_id, running) if running else ()):
        texts = found.setdefault(piece.index, [])
        texts += [""] * (piece.output + 1 - len(texts))
        texts[piece.output] += piece.text
    return found


def varying(job: JobView, rows: Sequence[InputRow]) -> list[str]:
    """The parameters of which rows have different values, or another one than the job."""
    shared = complete_params({"params": job.params}, {})
    # Where it was not given it is made to fit each item, which is not worth a column.
    if rows and "max_tokens" not in job.params:
        shared["max_tokens"] = rows[0]["params"].get("max_tokens")
    return [
        name
        for name in dict.fromkeys(name for row in rows for name in row["params"])
        if any(row["params"].get(name) != shared.get(name) for row in rows)
    ]


def _is_noted(output: RowOutput) -> bool:
    """Whether something is said of the output beside its text."""
    return output["finish_reason"] != "stop" or "choices" in output


def _prompt(row: InputRow) -> bool:
    return bool(row.get("prompt") or row.get("messages") or row.get("prompt_ids"))


def _is_prompt(name: str, rows: Sequence[InputRow]) -> bool:
    """Whether a column is what stands under Prompt anyway."""
    prompts = [row.get("prompt") for row in rows]
    return all(prompts) and prompts == [(row.get("vars") or {}).get(name) for row in rows]
