"""What came of submitting items: the answers of `attach` and `append`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.errors import InvalidRequest, TooLarge
from common.store.job_prep import MOST_COLUMNS


@dataclass(frozen=True)
class Attached:
    """What `attach` did: `outcome` is new, same (the idempotency key knew it), conflict, deleted
    (its batch was), lost, tenant_full, full or stored_full."""

    outcome: str
    job_id: str
    rings: int


@dataclass(frozen=True)
class Appended:
    """What `append` did: `outcome` is added, same (the idempotency key knew it), conflict, or
    duplicate with digests of the custom_ids that the job has already. The items are the job's from
    index `first` on."""

    outcome: str
    rings: int = 0
    first: int = 0
    count: int = 0
    duplicates: frozenset[bytes] = frozenset()


def appended(outcome: str, rings: int, more: list[Any]) -> Appended:
    """What the script `append` answered, where it refused nothing."""
    if outcome in ("added", "same"):
        return Appended(outcome, rings, *more)
    return Appended(outcome, duplicates=frozenset(more))


def refuse_too_many(outcome: str, most_items: int, most_streams: int) -> None:
    """Tell a limit of the job itself that `append` met."""
    if outcome == "too_many":
        message = f"a job takes at most {most_items:,} items, with those it has; submit another job"
        raise TooLarge(message, field="items")
    if outcome == "too_many_columns":
        message = f"a job has at most {MOST_COLUMNS:,} columns, with those it has"
        raise InvalidRequest(message, code="too_many_columns", field="vars")
    if outcome == "too_many_streams":
        message = (
            f"a job streams at most {most_streams} continuations, with those it has; "
            "leave stream out"
        )
        raise InvalidRequest(message, code="out_of_range", field="stream")
