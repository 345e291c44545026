"""Draws the rows of a study: those that succeeded in all its jobs, with prompts and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from common.cooperate import Steps, give_way
from common.errors import InvalidRequest, NotFound, TooLarge
from common.prompting.sources import VariablesSource
from common.prompting.template import Template
from common.store.custom_ids import job_digests
from common.store.job import Job
from common.store.packing import unpack
from common.store.raw_items import Picked
from common.store.records import reading
from common.store.rows import parse_result
from common.store.studies import Row
from common.stored_item import StoredItem
from common.types import ItemState
from evals.arrays import Bools
from evals.matching import match
from evals.seeds import generator
from web.schemas.messages import chat_text
from web.services.services import Services

MOST_ITEMS = 200_000  # of all jobs of a study together, which may all have to be read
MOST_TEXT = 64 * 2**10  # bytes of a prompt or an output
MOST_TEXTS = 32 * 2**20  # bytes of all texts of a study
DRAWN = 64  # rows that are read at once
SUCCEEDED = ItemState.SUCCEEDED.byte


@dataclass(frozen=True)
class Matches:
    """Which items of the jobs belong together: each entry has an index in each job."""

    by: Literal["custom_id", "position"]
    indices: Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Drawn:
    """The rows of a study, and how many were `left_out`: they have no text, or one too long."""

    rows: list[Row]
    left_out: int


def match_rows(services: Services, jobs: Sequence[Job]) -> Matches:
    """Items that succeeded in all jobs: by custom_id if every item has one of its own, else by
    position.

    Raises:
        NotFound: a job was deleted meanwhile.
        TooLarge: the jobs have more items than can be read for this.
    """
    if sum(job.total for job in jobs) > MOST_ITEMS:
        message = f"the jobs have more than {MOST_ITEMS:,} items together; use smaller ones"
        raise TooLarge(message, field="jobs", code="too_many_items")
    matching = match([job_digests(services.store, job, give_way) for job in jobs])
    succeeded = [_succeeded(services, job) for job in jobs]
    in_all = np.all([own[matching.rows[:, at]] for at, own in enumerate(succeeded)], axis=0)
    return Matches(matching.by, [tuple(map(int, row)) for row in matching.rows[in_all]])


def _succeeded(services: Services, job: Job) -> Bools:
    states = np.frombuffer(services.store.states(job.id), np.uint8)
    if len(states) < job.total:
        raise NotFound(f"no job {job.id}")
    return states == ord(SUCCEEDED)


def draw_rows(
    services: Services, jobs: Sequence[Job], matches: Matches, seed: str, sample: int
) -> Drawn:
    """`sample` of the rows by chance, fewer if there are not so many, in the order of the first
    job. The same seed draws the same.

    Raises:
        NotFound: a job was deleted meanwhile.
        TooLarge: the texts have more bytes together than a study may.
    """
    order = [*map(int, generator(seed, "rows").permutation(len(matches.indices)))]
    found: dict[int, Row] = {}
    left_out = size = 0
    while order and len(found) < sample:
        few = min(DRAWN, sample - len(found))
        places, order = sorted(order[:few]), order[few:]
        for place, row in zip(places, _read(services, jobs, matches, places), strict=True):
            sizes = [len(text.encode()) for text in (row.prompt, *row.texts)] if row else []
            if row is None or max(sizes) > MOST_TEXT:
                left_out += 1
                continue
            found[place], size = row, size + sum(sizes)
        if size > MOST_TEXTS:
            message = (
                f"the texts of {len(found):,} rows have more than {MOST_TEXTS >> 20} MiB, which is "
                "the most for a study; lower sample"
            )
            raise TooLarge(message, field="sample")
    return Drawn([found[place] for place in sorted(found)], left_out)


def _read(
    services: Services, jobs: Sequence[Job], matches: Matches, places: Sequence[int]
) -> list[Row | None]:
    """These rows; None for those of which an output has no text."""
    texts = [
        _texts(services, job.id, [matches.indices[place][at] for place in places])
        for at, job in enumerate(jobs)
    ]
    items = _inputs(services, jobs[0], [matches.indices[place][0] for place in places])
    prompts = Prompts(services, jobs[0])
    found: list[Row | None] = []
    for at, place in enumerate(places):
        said = [text for of_job in texts if (text := of_job[at]) is not None]
        if len(said) < len(jobs):
            found.append(None)
            continue
        custom_id = items[at].get("custom_id")
        found.append(Row(custom_id, matches.indices[place], prompts.text(items[at]), said))
    return found


def _texts(services: Services, job_id: str, indices: Sequence[int]) -> list[str | None]:
    """What was generated for these items, of several texts the first; None where nothing was, as
    for items whose continuations are scored."""
    blobs, steps = services.store.result_blobs(job_id, indices), Steps()
    found: list[str | None] = []
    for blob, index in zip(blobs, indices, strict=True):
        if blob is None:
            raise NotFound(f"no job {job_id}")
        with reading(f"item {index} of {job_id}"):
            outputs = parse_result(blob).get("outputs")
            found.append(str(outputs[0]["text"]) if outputs else None)
        steps.step()
    return found


def _inputs(services: Services, job: Job, indices: Sequence[int]) -> list[StoredItem]:
    order = sorted(set(indices))
    picked: Picked = services.store.pick(job.id, order, beside=False)
    parsed: dict[int, Any] = {}
    found: dict[int, StoredItem] = {}
    steps = Steps()
    for item in picked.items:
        with reading(f"items from {item.start} on of {job.id}"):
            if item.start not in parsed:
                parsed = {item.start: unpack(picked.chunks[item.start])}
            found[item.index] = parsed[item.start][item.index - item.start]
        steps.step()
    return [found[index] for index in indices]


class Prompts:
    """Makes what people read of the items of one job: without what a chat template adds."""

    def __init__(self, services: Services, job: Job):
        self._services, self._job = services, job
        template = services.store.prep(job.id).get("template")
        self._template = Template.parse(template) if template else None

    def text(self, item: StoredItem) -> str:
        if "prompt_ids" in item:
            return self._decoded(item["prompt_ids"])
        if self._template and "vars" in item:
            return self._filled(item)
        return item["prompt"] if "prompt" in item else chat_text(item.get("messages", []))

    def _filled(self, item: StoredItem) -> str:
        assert self._template
        try:
            source = VariablesSource(self._template, item["vars"])
            source.texts |= item.get("made", {})
            asked = source.asked()
        except InvalidRequest:
            return ""  # it was longer than a prompt may be, until it was cut
        return asked if isinstance(asked, str) else chat_text(asked)

    def _decoded(self, ids: list[int]) -> str:
        model = self._services.models.choose(self._job.model)
        known = model.card.digest == self._job.digest and model.tokenizer
        return known.decode(ids) if known else f"{len(ids):,} token ids"
