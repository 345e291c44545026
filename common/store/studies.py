"""Studies: outputs of jobs that people rate without knowing which job made them.

A study has a copy of the texts: its raters may take weeks, and a job may be deleted or purged
meanwhile. Rows are numbered in the order of the first job, tasks in the order in which they are
given out. Who rates is in `common/store/raters.py`. Knows Redis; nothing of what answers mean.
"""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import redis

from common.errors import Conflict, NotFound, Unavailable, storage_full
from common.store import keys
from common.store.connection import redis_errors
from common.store.packing import pack, unpack
from common.store.places import pages, place_of
from common.store.records import as_text, readable, reading
from common.store.scripts import Scripts
from common.store.submitted import NO_KEY, KeyUse, MadeWith, key_reused, parse_made
from common.types import JsonObject

MOST_STUDIES = 100  # of a tenant
STAGE_TTL = 3600  # seconds that rows are kept of a study that is never made
ROWS_SENT = 64  # in one round trip
PAGE = 20  # studies read at a time
VOTES_READ = 1000  # at a time, about
Kind = Literal["pairs", "scale"]
_TASK = struct.Struct(">HBB")


@dataclass(frozen=True)
class StudyJob:
    """A job whose outputs are rated, as it was called when the study was made."""

    id: str
    name: str
    model: str


@dataclass(frozen=True)
class About:
    """What a study is of. `matched` rows succeeded in all jobs, and `rows` of them are rated;
    `left_out` were drawn, too, but have no text, or one that is too long."""

    kind: Kind
    jobs: tuple[StudyJob, ...]
    criteria: tuple[str, ...]
    matched_by: Literal["custom_id", "position"]
    matched: int
    rows: int
    left_out: int


@dataclass(frozen=True)
class Row:
    """A row with the text that each job made of it, and its index in each."""

    custom_id: str | None
    indices: Sequence[int]
    prompt: str
    texts: Sequence[str]


@dataclass(frozen=True)
class Task:
    """What is rated at once: the outputs of two jobs for a row, or of one (`left` is `right`). Jobs
    are named by their places in the study."""

    row: int
    left: int
    right: int


@dataclass(frozen=True)
class Vote:
    """What a rater said of a task; `at` in ms of the server's clock. Answers name sides as they
    were shown, which `task` has too."""

    number: int
    rater: str
    task: Task
    answers: Mapping[str, str | int]
    at: int


@dataclass(frozen=True)
class Study:
    """`wanted` ratings are to be given to each of so many `tasks`; `ratings` were given. `changes`
    counts what raters did. `created_at` in ms of the server's clock."""

    id: str
    tenant: str
    about: About
    tasks: int
    wanted: int
    ratings: int
    changes: int
    created_at: int

    @property
    def to_give(self) -> int:
        return self.tasks * self.wanted


def new_study_id() -> str:
    return f"study_0{secrets.token_hex(10)}"


class Studies:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def stage_rows(self, study_id: str, rows: Sequence[Row]) -> int:
        """Write the rows of a study that is to be made; gone in an hour unless it is. Answers the
        bytes that they take."""
        line, size = keys.study(study_id, "rows"), 0
        for first in range(0, len(rows), ROWS_SENT):
            some = enumerate(rows[first : first + ROWS_SENT], first)
            packed = {str(number): pack(asdict(row)) for number, row in some}
            size += sum(map(len, packed.values()))
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                pipe.hset(line, mapping=packed)
                pipe.expire(line, STAGE_TTL)
                pipe.execute()
        return size

    def drop_rows(self, study_id: str) -> None:
        """Forget rows that were staged, where no study came of them."""
        with redis_errors():
            if not self._client.exists(keys.study(study_id)):
                self._client.unlink(keys.study(study_id, "rows"))

    def create(
        self,
        study_id: str,
        tenant: str,
        about: About,
        tasks: Sequence[Task],
        wanted: int,
        size: int,
        most_stored: int = 0,
        use: KeyUse = NO_KEY,
    ) -> str:
        """Make a study of the rows that were staged; `size` is what these take. Durable when it
        returns. Answers its id: another one if the idempotency key has made the study before, which
        may be gone by now.

        Raises:
            Conflict: the tenant has as many studies as may be.
            KeyReused: the key made one of other content.
            StorageFull: the tenant would keep more than `most_stored` bytes, 0 for no limit.
            Unavailable: the staged rows are gone.
        """
        packed = b"".join(_TASK.pack(task.row, task.left, task.right) for task in tasks)
        with redis_errors():
            outcome, made = self._scripts.create_study(
                id=study_id,
                tenant=tenant,
                about=json.dumps(asdict(about), ensure_ascii=False),
                tasks=packed,
                rows=about.rows,
                wanted=wanted,
                bytes=size + len(packed),
                most=MOST_STUDIES,
                most_stored=most_stored,
                **use.of("idem", "fingerprint"),
            )
        if outcome == b"conflict":
            raise key_reused("study")
        if outcome == b"studies_full":
            message = f"you have {MOST_STUDIES} studies, which is the most; delete one first"
            raise Conflict(message, code="too_many_studies")
        if outcome == b"stored_full":
            raise storage_full(most_stored)
        if outcome == b"lost":
            raise Unavailable("the rows of the study are not on the server any more; try again")
        return str(made.decode())

    def made_with(self, tenant: str, key: str) -> MadeWith | None:
        """The study that an idempotency key has made, if it is there."""
        with redis_errors():
            found = parse_made(self._client.get(keys.study_key(tenant, key)))
            return found if found and self._client.exists(keys.study(found.made)) else None

    def get(self, study_id: str, tenant: str) -> Study:
        """`NotFound` for another tenant's as for one that never was."""
        with redis_errors():
            raw = self._client.hgetall(keys.study(study_id))
        if raw.get(b"tenant") != tenant.encode():
            raise NotFound(f"no study {study_id}")
        with reading(study_id):
            return _study(study_id, raw)

    def walk(self, tenant: str, after: str | None = None) -> Iterator[Study]:
        """A tenant's studies, newest first, from behind `after`. One whose record cannot be read is
        left out, with a line in the log."""
        line = keys.tenant_studies(tenant)
        behind = place_of(self._client, line, tenant, after) if after is not None else None
        for ids in pages(self._client, line, newest_first=True, behind=behind, page=PAGE):
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for study_id in ids:
                    pipe.hgetall(keys.study(study_id))
                hashes = pipe.execute(raise_on_error=False)
            found = [pair for pair in zip(ids, hashes, strict=True) if pair[1]]
            yield from readable(found, lambda pair: _study(*pair), lambda pair: pair[0])

    def delete(self, study_id: str, tenant: str) -> None:
        """Remove it with its ratings and its raters' links, now; `NotFound` as `get`."""
        with redis_errors():
            if not self._scripts.delete_study(id=study_id, tenant=tenant):
                raise NotFound(f"no study {study_id}")

    def tasks(self, study_id: str) -> list[Task]:
        """By number."""
        with redis_errors():
            packed = self._client.get(keys.study(study_id, "tasks")) or b""
        return [Task(*parts) for parts in _TASK.iter_unpack(packed)]

    def rows(self, study_id: str, numbers: Sequence[int]) -> dict[int, Row]:
        """These rows by number; `NotFound` where the study is gone."""
        with redis_errors():
            blobs = self._client.hmget(keys.study(study_id, "rows"), [*map(str, numbers)])
        if not all(blobs):
            raise NotFound(f"no study {study_id}")
        with reading(f"rows of {study_id}"):
            return {
                number: Row(**unpack(blob)) for number, blob in zip(numbers, blobs, strict=True)
            }

    def votes(self, study_id: str) -> Iterator[list[Vote]]:
        """All ratings, some at a time. One that is given or taken back meanwhile may be missing or
        there."""
        tasks = self.tasks(study_id)
        line, cursor, seen = keys.study(study_id, "votes"), 0, set[bytes]()
        while True:
            with redis_errors():
                cursor, found = self._client.hscan(line, cursor, count=VOTES_READ)
            with reading(f"ratings of {study_id}"):
                yield [_vote(name, raw, tasks) for name, raw in found.items() if name not in seen]
            seen |= found.keys()
            if not cursor:
                return

    def kept_results(self, study: Study) -> JsonObject | None:
        """What was computed of these ratings before."""
        with redis_errors():
            blob = self._client.get(keys.study(study.id, "results"))
        if blob is None:
            return None
        with reading(f"the results of {study.id}"):
            kept = unpack(blob)
        return kept["results"] if kept["changes"] == study.changes else None

    def keep_results(self, study: Study, results: JsonObject, seconds: int = 86400) -> None:
        """Keep what was computed of the ratings as they were when `study` was read."""
        blob = pack({"changes": study.changes, "results": results})
        with redis_errors():
            self._client.set(keys.study(study.id, "results"), blob, ex=seconds)


def parse_task(packed: bytes, swapped: bool) -> Task:
    """A task as it is stored, with its sides as they are shown."""
    row, left, right = _TASK.unpack(packed)
    return Task(row, right, left) if swapped else Task(row, left, right)


def _vote(name: bytes, raw: bytes, tasks: Sequence[Task]) -> Vote:
    number, _, rater = name.decode().partition(":")
    kept, task = json.loads(raw), tasks[int(number)]
    if kept["swapped"]:
        task = Task(task.row, task.right, task.left)
    return Vote(int(number), rater, task, kept["answers"], kept["at"])


def _study(study_id: str, raw: Any) -> Study:
    about = as_text(raw)
    said = json.loads(about["about"])
    said["jobs"] = tuple(StudyJob(**job) for job in said["jobs"])
    said["criteria"] = tuple(said["criteria"])
    numbers = ("tasks", "wanted", "ratings", "changes", "created_at")
    return Study(
        id=study_id,
        tenant=about["tenant"],
        about=About(**said),
        **{name: int(about[name]) for name in numbers},
    )
