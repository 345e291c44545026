"""Which process uses a GPU: a lease for each UUID, so that two workers on a host never use the same
one. Knows Redis; nothing of drivers and devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis

from common.store.connection import redis_errors
from common.store.scripts import Scripts

LEASE = 15_000  # ms; to be renewed every third of it, also while the model loads


@dataclass(frozen=True)
class Held:
    """What `Gpus.hold` came to: the UUIDs that are the caller's now, all that it wanted or none, in
    the order in which it named them; and the owners of those that others hold."""

    uuids: tuple[str, ...]
    others: dict[str, str]


class Gpus:
    """The leases of GPUs. An owner is a text that no other process uses."""

    def __init__(self, client: redis.Redis):
        self._scripts = Scripts(client)

    def hold(self, owner: str, uuids: Sequence[str], wanted: int) -> Held:
        """Take `wanted` of the GPUs, the first ones that are free, or none at all; or renew those
        that the owner has.

        Raises:
            Unavailable: Redis cannot be asked.
        """
        with redis_errors():
            given, others = self._scripts.hold_gpus(*uuids, owner=owner, wanted=wanted, lease=LEASE)
        texts = [part.decode() for part in others]
        return Held(
            tuple(uuid for uuid in uuids if uuid.encode() in given),
            dict(zip(texts[::2], texts[1::2], strict=True)),
        )

    def release(self, owner: str, uuids: Sequence[str]) -> None:
        """Give back those of the GPUs that are the owner's.

        Raises:
            Unavailable: Redis cannot be asked; the leases expire.
        """
        with redis_errors():
            self._scripts.release_gpus(*uuids, owner=owner)
