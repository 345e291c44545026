"""Reads stored records that may be damaged: a damaged record is reported by its id, and left out of
lists.

A record may be damaged by a version with a fault, by a person at the server's prompt, or by a disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import redis

from common.errors import PromptmillError

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Unreadable(PromptmillError):
    """A stored record makes no sense; its owner may delete it."""

    code = "unreadable_record"


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever fails inside, but for what the server or promptmill itself says, is `Unreadable`;
    `what` names it."""
    try:
        yield
    except (PromptmillError, redis.RedisError):
        raise
    except Exception as error:
        raise Unreadable(
            f"the record of {what[:120]} cannot be read ({type(error).__name__})"
        ) from error


def readable(records: Iterable[R], read: Callable[[R], T], name: Callable[[R], str]) -> Iterator[T]:
    """What `read` makes of each record, without those that it fails on: they get a line in the
    log."""
    for record in records:
        try:
            with reading(name(record)):
                found = read(record)
        except Unreadable as error:
            log.warning("left out of a list: %s: %s", error, str(error.__cause__)[:200])
            continue
        yield found


def hash_of(answer: Any) -> dict[bytes, bytes]:
    """A hash as the server answered it.

    Raises:
        ValueError: it answered an error instead; the key may hold something else.
    """
    if isinstance(answer, Exception):
        raise ValueError(str(answer))
    return cast("dict[bytes, bytes]", answer)


def as_text(answer: Any) -> dict[str, str]:
    """The same as text; `ValueError` also where it is none."""
    return {name.decode(): value.decode() for name, value in hash_of(answer).items()}
