"""What goes with a submit beside its items, and what came of it: the answers of `attach` and
`append`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from common.errors import Conflict, InvalidRequest, TooLarge
from common.store.job_prep import MOST_COLUMNS


class KeyUse(NamedTuple):
    """An idempotency key, and the fingerprint of what was sent with it. `earlier` is the one that
    parts up to schema 3 take; empty where they cannot take such content. `named` is one with the
    id of a stored file in place of its items; empty where there was no such file."""

    idem: str = ""
    fingerprint: str = ""
    earlier: str = ""
    named: str = ""

    def of(self, *names: str) -> dict[str, str]:
        """Those that a script takes, by name."""
        return {name: getattr(self, name) for name in names}


NO_KEY: Final = KeyUse()


class KeyReused(Conflict):
    """An idempotency key came again with other content."""

    status = 422
    code = "idempotency_key_reused"


def key_reused(kind: str) -> KeyReused:
    """`kind` is what the key made: a job, a study."""
    message = f"this Idempotency-Key made another {kind}, of other content; take a new key"
    return KeyReused(message, field="Idempotency-Key")


class MadeWith(NamedTuple):
    """What a key has made, such as a job, of content with these fingerprints, as `KeyUse` has
    them."""

    made: str
    fingerprint: str
    named: str = ""


def parse_made(stored: bytes | None) -> MadeWith | None:
    """The record of a key, as `note_made` in `lua/lib/submit.lua` writes it; None where it is of
    parts up to schema 3."""
    _, job_id, sent, rest = (*(stored or b"").decode().split()[:4], "", "", "", "")[:4]
    if not sent.startswith("sent:"):
        return None
    named = rest.removeprefix("named:") if rest.startswith("named:") else ""
    return MadeWith(job_id, sent.removeprefix("sent:"), named)


@dataclass(frozen=True)
class Attached:
    """What `attach` did: `outcome` is new, same (the idempotency key knew it), conflict, deleted
    (its batch was, or the job
    itself while it waited for its items), lost, tenant_full, full or stored_full."""

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
