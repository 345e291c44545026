"""Draws the rows of a study: those that succeeded in all its jobs, with prompts and texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.cooperate import Steps
from common.errors import InvalidRequest, NotFound, TooLarge
from common.prompting.sources import VariablesSource
from common.prompting.template import Template
from common.store.job import Job
from common.store.packing import unpack
from common.store.raw_items import Picked
from common.store.records import reading
from common.store.rows import parse_result
from common.store.studies import Row
from common.stored_item import StoredItem
from common.types import ItemState
from evals.seeds import generator
from web.services.services import Services

MOST_ITEMS = 200_000  # of all jobs of a study together, which may all have to be read
MOST_TEXT = 64 * 2**10  # bytes of a prompt or an output
MOST_TEXTS = 32 * 2**20  # bytes of all texts of a study
READ = 512  # items whose custom_ids are read at once
DRAWN = 64  # rows that are read at once
SUCCEEDED = ItemState.SUCCEEDED.byte.encode()


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
    """Items that succeeded in all jobs: by custom_id if every item has one, else by position.

    Raises:
        TooLarge: the jobs have more items than can be read for this.
    """
    if sum(job.total for job in jobs) > MOST_ITEMS:
        message = f"the jobs have more than {MOST_ITEMS:,} items together; use smaller ones"
        raise TooLarge(message, field="jobs", code="too_many_items")
    states = [services.store.states(job.id) for job in jobs]
    named = [] if len(jobs) < 2 else _ids(services, jobs)
    if not named:
        places = ((index,) * len(jobs) for index in range(min(map(len, states))))
        return Matches("position", _succeeded(places, states))
    shared = (each for each in named[0] if all(each in other for other in named[1:]))
    places = (tuple(each[custom_id] for each in named) for custom_id in shared)
    return Matches("custom_id", _succeeded(places, states))


def _succeeded(places: Iterable[tuple[int, ...]], states: Sequence[bytes]) -> list[tuple[int, ...]]:
    """Those whose item succeeded in every job."""
    steps, found = Steps(), []
    for indices in places:
        steps.step()
        there = (state[at : at + 1] for state, at in zip(states, indices, strict=True))
        if all(state == SUCCEEDED for state in there):
            found.append(indices)
    return found


def _ids(services: Services, jobs: Sequence[Job]) -> list[dict[str, int]]:
    """Of each job the index by custom_id; empty where an item has none."""
    for job in jobs:
        if any("custom_id" not in item for item in services.store.items(job.id, 0, 1)):
            return []
    found: list[dict[str, int]] = []
    for job in jobs:
        places: dict[str, int] = {}
        for index, item in _items(services, job):
            if "custom_id" not in item:
                return []
            places.setdefault(item["custom_id"], index)
        found.append(places)
    return found


def _items(services: Services, job: Job) -> Iterator[tuple[int, StoredItem]]:
    steps, few = Steps(), max(1, min(READ, 4 * 2**20 // max(1, job.item_bytes)))
    for first in range(0, job.total, few):
        for place, item in enumerate(services.store.items(job.id, first, few)):
            yield first + place, item
        steps.step()


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
        return item["prompt"] if "prompt" in item else _chat(item.get("messages", []))

    def _filled(self, item: StoredItem) -> str:
        assert self._template
        try:
            source = VariablesSource(self._template, item["vars"])
            source.texts |= item.get("made", {})
            asked = source.asked()
        except InvalidRequest:
            return ""  # it was longer than a prompt may be, until it was cut
        return asked if isinstance(asked, str) else _chat(asked)

    def _decoded(self, ids: list[int]) -> str:
        model = self._services.models.choose(self._job.model)
        known = model.card.digest == self._job.digest and model.tokenizer
        return known.decode(ids) if known else f"{len(ids):,} token ids"


def _chat(messages: Sequence[Any]) -> str:
    """A single message as it is; of several each with its role."""
    said = [(str(each["role"]), str(each.get("content") or "")) for each in messages]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in said if text)
