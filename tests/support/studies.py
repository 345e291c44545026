"""Studies in the store, without jobs, and people who rate."""

from __future__ import annotations

from itertools import combinations

import redis

from common.store.raters import RaterGrant, Raters, new_rater_id
from common.store.studies import About, Row, Studies, StudyJob, Task, new_study_id

JOBS = (StudyJob("job_0a", "a", "echo"), StudyJob("job_0b", "b", "echo"))


def made_study(
    client: redis.Redis, rows: int = 3, wanted: int = 2, tenant: str = "t", most_stored: int = 0
) -> str:
    """The id of a study of two jobs."""
    studies, study_id = Studies(client), new_study_id()
    about = About("pairs", JOBS, ("fluency",), "position", rows, rows, 0)
    texts = [Row(None, (i, i), f"prompt {i}", (f"a{i}", f"b{i}")) for i in range(rows)]
    size = studies.stage_rows(study_id, texts)
    tasks = [Task(row, *pair) for row in range(rows) for pair in combinations(range(2), 2)]
    studies.create(study_id, tenant, about, tasks, wanted, size, most_stored)
    return study_id


def person(
    client: redis.Redis, study_id: str, name: str = "Ada", first: bool = False
) -> RaterGrant:
    raters = Raters(client)
    secret = raters.add(study_id, "t", new_rater_id(), name, first)
    grant = raters.grant_of_secret(secret)
    assert grant
    return grant
