"""The people who rate the outputs of a study: their links, and the tasks that they are given.

A link is good for one study and nothing else. Only digests of its secret are stored. Knows Redis.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from common.errors import Conflict, InvalidRequest, NotFound
from common.store import keys
from common.store.connection import redis_errors
from common.store.grants import digest_of
from common.store.labels import check_label
from common.store.records import reading
from common.store.scripts import Scripts
from common.store.studies import Task, parse_task

MOST_RATERS = 100  # of a study, revoked ones included
LEASE = 600  # seconds that a task is kept for who has it in front of them
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
TASK = re.compile(r"[0-9]{5}")


@dataclass(frozen=True)
class Rater:
    """A person who rates; times in ms of the server's clock. `done` are the tasks they have
    rated."""

    id: str
    name: str
    created_at: int
    revoked_at: int | None
    done: int


@dataclass(frozen=True)
class RaterGrant:
    """What a rater's link gives: to rate this study as this person."""

    study: str
    tenant: str
    rater: str


@dataclass(frozen=True)
class Given:
    """What a rater has in front of them: a task with its sides as they are shown, or None where
    there is nothing left for them. They have rated `done` of `total` that they may come to rate."""

    number: str
    task: Task | None
    done: int
    total: int


def new_rater_id() -> str:
    return f"rater_{secrets.token_hex(8)}"


class Raters:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def add(self, study_id: str, tenant: str, rater_id: str, name: str, first: bool) -> str:
        """The secret of a new link. `first` says whether this rater's first pair is shown with its
        sides changed. Durable when it returns.

        Raises:
            InvalidRequest: the name is empty or cannot be shown.
            NotFound: the tenant has no such study.
            Conflict: the study has as many links as it may.
        """
        if not check_label(name):
            raise InvalidRequest("say who is to rate", field="name")
        secret = secrets.token_urlsafe(32)
        with redis_errors():
            made = self._scripts.add_rater(
                id=study_id,
                tenant=tenant,
                rater=rater_id,
                name=name,
                digest=digest_of(secret),
                first=int(first),
                most=MOST_RATERS,
            )
        if made < 0:
            raise NotFound(f"no study {study_id}")
        if not made:
            message = f"the study has had {MOST_RATERS} raters, as many as it may"
            raise Conflict(message, code="too_many_raters")
        return secret

    def of(self, study_id: str) -> list[Rater]:
        """All of a study, the first first."""
        with redis_errors():
            stored = self._client.hgetall(keys.study(study_id, "raters"))
            ids = [rater_id.decode() for rater_id in stored]
            pipe = self._client.pipeline(transaction=False)
            for rater_id in ids:
                pipe.llen(keys.rated(study_id, rater_id))
            counts = pipe.execute() if ids else []
        with reading(f"the raters of {study_id}"):
            found = [
                _rater(rater_id, json.loads(raw), done)
                for rater_id, raw, done in zip(ids, stored.values(), counts, strict=True)
            ]
        return sorted(found, key=lambda rater: (rater.created_at, rater.id))

    def revoke(self, study_id: str, tenant: str, rater_id: str) -> None:
        """End a link; what was rated with it stays.

        Raises:
            NotFound: the tenant has no such study, or the study no such rater.
        """
        keys.rated(study_id, rater_id)  # refuses what cannot be ids
        with redis_errors():
            if not self._scripts.revoke_rater(id=study_id, tenant=tenant, rater=rater_id):
                raise NotFound(f"no rater {rater_id} of {study_id}")

    def grant_of_secret(self, secret: str) -> RaterGrant | None:
        """What a link gives; None where it is malformed or does not work any more."""
        if not SECRET.fullmatch(secret):
            return None
        with redis_errors():
            found = self._client.get(keys.rater(digest_of(secret)))
            if found is None:
                return None
            study_id, rater_id = found.decode().split()
            tenant = self._client.hget(keys.study(study_id), "tenant")
            # A tenant is closed when its last key was revoked.
            if tenant is None or self._client.hexists(keys.tenant(tenant.decode()), "closed_at"):
                return None
        return RaterGrant(study_id, tenant.decode(), rater_id)

    def next_task(self, grant: RaterGrant) -> Given:
        """What this rater is to rate now. The same until they have, or ten minutes pass and another
        rater gets it.

        Raises:
            NotFound: the link does not work any more.
        """
        with redis_errors():
            told, *found = self._scripts.give_task(
                id=grant.study, rater=grant.rater, life=LEASE * 1000
            )
        if told == b"gone":
            raise gone()
        number, packed, swapped, done, total = found
        task = parse_task(packed, bool(swapped)) if packed else None
        return Given(number.decode(), task, done, total)

    def vote(self, grant: RaterGrant, number: str, answers: Mapping[str, str | int]) -> None:
        """Keep what a rater says of the task that was given to them, or says anew of one that they
        have rated. Durable when it returns.

        Raises:
            NotFound: the task is not theirs, or the link does not work any more.
            Conflict: they took so long that others have rated it.
        """
        if not TASK.fullmatch(number):
            raise NotFound(f"no task {number[:80]!r}")
        with redis_errors():
            told = self._scripts.keep_vote(
                id=grant.study, rater=grant.rater, task=number, answers=json.dumps(answers)
            )
        if told == b"gone":
            raise gone()
        if told == b"not_given":
            raise NotFound(f"task {number} is not yours; GET /rate/v1/rating/next gives you one")
        if told == b"taken":
            message = "this took longer than ten minutes, and others have rated it; take the next"
            raise Conflict(message, code="task_taken")

    def undo(self, grant: RaterGrant) -> None:
        """Take back what this rater said last, and give them that task again.

        Raises:
            Conflict: they have rated nothing.
            NotFound: the link does not work any more.
        """
        with redis_errors():
            told = self._scripts.undo_vote(
                id=grant.study, rater=grant.rater, life=LEASE * 1000, call=secrets.token_hex(8)
            )
        if told == b"gone":
            raise gone()
        if told == b"none":
            raise Conflict("there is no rating to take back", code="nothing_rated")


def gone() -> NotFound:
    return NotFound("this link does not work (any more): ask the person who sent it for a new one")


def _rater(rater_id: str, about: dict[str, int | str], done: int) -> Rater:
    revoked_at = about.get("revoked_at")
    return Rater(
        rater_id,
        str(about["name"]),
        int(about["created_at"]),
        int(revoked_at) if revoked_at else None,
        done,
    )
