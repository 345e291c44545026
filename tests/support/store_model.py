"""The model that a random walk over the scripts is held against: items, jobs, and a bad line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from common.store.evaluation_work import Claimed
from common.store.evaluations import Asked
from common.store.incarnation import Incarnation, Result
from common.store.scripts import Scripts
from common.types import ItemState

MAX_ATTEMPTS, MOST_FREE = 2, 10  # two, not three: a walk of 100 steps reaches it
MOST_TRIES = 2  # of evaluators at the same scores; so, too
ASKED = Asked(["rouge_l"], [])


def item_models(slots: list[int], beside: bool) -> list[ItemModel]:
    """Items as they are submitted."""
    return [ItemModel(need, beside=i if beside else None) for i, need in enumerate(slots)]


def needs(items: int) -> list[int]:
    """Slots of each item of a job, or of what is appended: in a quarter of them every third takes
    two."""
    wide = 2 if items % 4 == 3 else 1
    return [wide if i % 3 == 1 else 1 for i in range(items)]


@dataclass
class ItemModel:
    slots: int = 1
    state: ItemState = ItemState.PENDING
    holder: str | None = None
    charged: int = 0
    free: int = 0
    grown: bool = False
    tokens: list[list[int]] = field(default_factory=list)  # what a next holder is to be told
    beside: int | None = None  # its number where it was submitted, if that is kept beside it

    @property
    def suspect(self) -> bool:
        return self.state == ItemState.PENDING and self.charged > 0


@dataclass
class EvaluationModel:
    total: int  # items
    referenced: bool = False  # whether references came with it
    status: str = "queued"
    done: int = 0  # items that are scored
    tries: int = 0  # claims since the last scores
    claim: Claimed | None = None  # the newest that is good
    due: bool = True  # another may claim it

    @property
    def over(self) -> bool:
        return self.status in ("done", "failed")


@dataclass
class JobModel:
    tenant: str
    items: list[ItemModel]
    cost: int
    cancelled: bool = False
    expired: bool = False
    paused: bool = False
    order: list[int] = field(default_factory=list)
    evaluate: bool = False  # an evaluation is made when it ends
    evaluations: dict[str, EvaluationModel] = field(default_factory=dict)  # by id

    def unfinished(self) -> list[str]:
        return [name for name, each in self.evaluations.items() if not each.over]

    def count(self, state: ItemState) -> int:
        return sum(item.state == state for item in self.items)

    @property
    def over(self) -> bool:
        return self.count(ItemState.PENDING) + self.count(ItemState.RUNNING) == 0

    @property
    def claimable(self) -> bool:
        return self.count(ItemState.PENDING) > 0 and not (
            self.cancelled or self.expired or self.paused
        )

    @property
    def status(self) -> str:
        if not self.over:
            return "running" if self.started else "queued"
        if self.cancelled and self.count(ItemState.CANCELLED):
            return "cancelled"
        return "expired" if self.count(ItemState.EXPIRED) else "completed"

    started: bool = False

    def obey_wishes(self) -> None:
        """What waits of a job that is no longer wanted ends."""
        for item in self.items:
            if item.state == ItemState.PENDING and (self.cancelled or self.expired):
                item.state = ItemState.CANCELLED if self.cancelled else ItemState.EXPIRED


@dataclass
class Saved:
    """All there was at a moment: the server's keys, the model, and how many calls each live worker
    had made."""

    dumps: dict[bytes, tuple[bytes, int]]
    jobs: dict[str, JobModel]
    calls: dict[str, int]
    seen: dict[str, str]


class Lossy:
    """The scripts over a bad line: the answer of the next call may be lost, so that it is sent
    again and runs twice."""

    def __init__(self, scripts: Scripts):
        self._scripts = scripts
        self.lose = False
        self.lost: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*rest: object, **named: object) -> object:
            answer = getattr(self._scripts, name)(*rest, **named)
            if self.lose:
                self.lose = False
                self.lost[name] += 1
                answer = getattr(self._scripts, name)(*rest, **named)
            return answer

        return call


def sent(worker: Incarnation, room: int) -> dict[str, object]:
    """The named arguments of a worker's next exchange."""
    return {
        "incarnation": worker.id,
        "call": worker._call + 1,
        "room": room,
        "kept": 0,
        "shared": 0,
    }


def flat(results: list[Result]) -> list[object]:
    return [
        part
        for r in results
        for part in (
            r.job_id,
            r.index,
            r.attempt,
            r.state.value,
            r.prompt_tokens,
            r.completion_tokens,
            r.blob,
        )
    ]
