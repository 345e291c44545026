"""The schema of the store's records, so that parts of different versions can work on one store.

The store keeps the newest schema that a part wrote to it, and the oldest whose parts may still work
on it. A part that is older than that is refused: at its start with a message, and later by every
script (`lua/lib/keys.lua` looks first), so that it cannot spoil records that it does not
understand.
"""

from __future__ import annotations

from importlib.metadata import version

import redis

from common.errors import ConfigError, Unavailable
from common.store import keys
from common.store.connection import redis_errors
from common.store.scripts import SCHEMA, Scripts

# The oldest schema whose parts work beside this one's; raise it with a change that they would
# spoil.
COMPATIBLE = 1


# The first schema whose lists of what can be claimed are clear where a model's name has a colon
# (`meet.lua`)
CLEAR = 3


def refuse_older(client: redis.Redis, name: str) -> None:
    """Before a model of this name is published: parts that would list its jobs under another key
    are refused."""
    if ":" in name or "%" in name:
        with redis_errors():
            Scripts(client).meet(oldest=CLEAR, version=version("promptmill"))


def meet_store(client: redis.Redis) -> None:
    """Write down that a part of this version uses the store.

    Raises:
        ConfigError: the store is of a newer version, which this part must not touch.
        Unavailable: the server is away.
    """
    with redis_errors():
        found = {
            name.decode(): value.decode() for name, value in client.hgetall(keys.VERSION).items()
        }
    if found.get("compatible") == str(keys.RESTORING):
        raise Unavailable(
            "a backup is being restored here; if no `promptmill restore` runs any more, run it "
            "again"
        )
    if int(found.get("compatible", 0)) > SCHEMA:
        raise ConfigError(
            f"this store was used by promptmill {found['version']} (schema {found['schema']}) and "
            "takes parts from "
            f"schema {found['compatible']} on; this is {version('promptmill')} (schema {SCHEMA}): "
            "update it"
        )
    if int(found.get("schema", 0)) < SCHEMA:
        with redis_errors():
            Scripts(client).meet(oldest=COMPATIBLE, version=version("promptmill"))
