"""Places in a tenant's lists: a client that pages through a list goes on from the last object it
saw, even when that was deleted since.

A list is a sorted set of objects by when they were created; a place is that time (ms) and an
object's id. Knows Redis.
"""

from __future__ import annotations

from collections.abc import Iterator

import redis

from common.errors import NotFound
from common.store import keys
from common.store.connection import redis_errors

Place = tuple[int, str]
LOWEST, HIGHEST = "", "\U0010ffff"  # before and behind every id


def place_of(client: redis.Redis, line: str, tenant: str, name: str) -> Place:
    """Where an object is in a list, or was until it left a day ago at most.

    Raises:
        NotFound: nothing of this name was there.
    """
    with redis_errors():
        pipe = client.pipeline(transaction=False)
        pipe.zscore(line, name)
        pipe.zscore(keys.gone(tenant), name)
        here, gone = pipe.execute()
    found = gone if here is None else here
    if found is None:
        raise NotFound(f"no {name[:80]!r} to go on from", field="after")
    return int(found), name


def pages(
    client: redis.Redis, line: str, *, newest_first: bool, behind: Place | None, page: int
) -> Iterator[list[str]]:
    """The ids of a list behind a place, a page at a time; each goes on behind the last, whatever
    left meanwhile."""
    while True:
        with redis_errors():
            found = _ids(client, line, newest_first, behind, page)
        if found:
            yield [name for _, name in found]
        if len(found) < page:
            return
        behind = found[-1]


def _ids(
    client: redis.Redis, line: str, newest_first: bool, behind: Place | None, count: int
) -> list[Place]:
    """Up to `count` places behind one. Those of its own millisecond are few, and told apart by
    their ids."""
    ties = client.zcount(line, behind[0], behind[0]) if behind else 0
    at = str(behind[0]) if behind else ("+inf" if newest_first else "-inf")
    options = {"start": 0, "num": count + ties, "withscores": True}
    if newest_first:
        rows = client.zrevrangebyscore(line, at, "-inf", **options)
    else:
        rows = client.zrangebyscore(line, at, "+inf", **options)
    places = ((int(score), name.decode()) for name, score in rows)
    if behind is not None:
        places = (each for each in places if (each < behind if newest_first else each > behind))
    return list(places)[:count]
