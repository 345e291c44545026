"""What raters are shown, and what they say: the same for the page and the API.

Nothing here tells which job made a text: no id, model, index, length or time, and no order but that
of the sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import InvalidRequest
from common.params import whole
from common.store.raters import RaterGrant
from common.store.studies import About
from web.schemas.studies import (
    SCALE,
    SIDES,
    SKIP,
    NothingToRate,
    PairTask,
    ScaleTask,
)
from web.services.services import Services


def next_task(
    services: Services, grant: RaterGrant
) -> tuple[About, PairTask | ScaleTask | NothingToRate]:
    """What this rater is to rate now, and what of study it is in."""
    about = services.studies.get(grant.study, grant.tenant).about
    given = services.raters.next_task(grant)
    if given.task is None:
        return about, NothingToRate(done=given.done, total=given.total)
    task, criteria = given.task, list(about.criteria)
    row = services.studies.rows(grant.study, [task.row])[task.row]
    shared = {"task": given.number, "prompt": row.prompt, "criteria": criteria}
    counts = {"done": given.done, "total": given.total}
    if about.kind == "scale":
        return about, ScaleTask(**shared, **counts, text=row.texts[task.left])
    left, right = row.texts[task.left], row.texts[task.right]
    return about, PairTask(**shared, **counts, left=left, right=right)


def keep_answers(
    services: Services, grant: RaterGrant, number: str, given: Mapping[str, Any]
) -> None:
    """Keep what a rater says of a task.

    Raises:
        InvalidRequest: a criterion is missing or not known, or is answered with something else.
        NotFound, Conflict: as `Raters.vote`.
    """
    about = services.studies.get(grant.study, grant.tenant).about
    services.raters.vote(grant, number, checked(about, given))


def checked(about: About, given: Mapping[str, Any]) -> dict[str, str | int]:
    """The answers, in the order of the criteria."""
    for name in given:
        if name not in about.criteria:
            known = ", ".join(about.criteria)
            message = f"{name[:64]!r} is no criterion of this study; it has {known}"
            raise InvalidRequest(message, code="unknown_field", field=name[:64])
    found: dict[str, str | int] = {}
    for name in about.criteria:
        if name not in given:
            message = f"answer every criterion, with {SKIP} if you cannot tell; missing is {name}"
            raise InvalidRequest(message, code="missing_field", field=name)
        value = whole(given[name])
        if not _is_answer(about, value):
            choices = f"1 to {SCALE}" if about.kind == "scale" else ", ".join(SIDES)
            message = f"the answer to {name} must be {choices} or {SKIP}"
            raise InvalidRequest(message, code="invalid_value", field=name)
        found[name] = value
    return found


def _is_answer(about: About, value: Any) -> bool:
    if value == SKIP:
        return True
    if about.kind == "pairs":
        return isinstance(value, str) and value in SIDES
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= SCALE
