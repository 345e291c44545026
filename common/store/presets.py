"""Presets: what tenants keep under a name to start jobs from, in numbered versions that never
change.

Knows Redis; nothing of what a preset says, beside its task and title, which lists show.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from common.errors import Conflict, NotFound, storage_full
from common.store import keys
from common.store.connection import redis_errors
from common.store.packing import pack, unpack
from common.store.records import hash_of, readable, reading
from common.store.scripts import Scripts
from common.types import JsonObject

MOST_PRESETS = 100  # of a tenant
MOST_VERSIONS = 50  # of a preset
MOST_USED = 1000  # deleted presets whose last version is remembered by name


@dataclass(frozen=True)
class PresetVersion:
    """One version of a preset; `created_at` in ms of the Redis server's clock."""

    version: int
    created_at: int
    task: str
    title: str


@dataclass(frozen=True)
class StoredPreset:
    """A preset with its versions, the oldest first; there is always one."""

    name: str
    versions: tuple[PresetVersion, ...]

    @property
    def newest(self) -> PresetVersion:
        return self.versions[-1]


class Presets:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def put(self, tenant: str, name: str, body: Mapping[str, Any], most_stored: int = 0) -> int:
        """Keep `body`, which has `task` and `title`, as a new version, and answer its number.
        Durable when it returns.

        The same content as in the newest version makes no other. `most_stored` is how many bytes
        the tenant may keep in all, 0 for no limit.

        Raises:
            Conflict: the tenant has as many presets, or this one as many versions, as may be.
            StorageFull: the tenant would keep too many bytes.
        """
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
        with redis_errors():
            outcome, version = self._scripts.keep_preset(
                body["task"],
                body["title"],
                tenant=tenant,
                name=name,
                digest=digest,
                most=MOST_PRESETS,
                most_versions=MOST_VERSIONS,
                most_stored=most_stored,
                body=pack(body),
            )
        _refuse_full(outcome.decode(), name, most_stored)
        return int(version)

    def get(self, tenant: str, name: str) -> StoredPreset:
        """`NotFound` for another tenant's as for one that never was."""
        with redis_errors():
            raw = self._client.hget(keys.presets(tenant), name)
        if raw is None:
            raise NotFound(f"no preset {name!r}")
        with reading(f"preset {name}"):
            return _preset(name, raw)

    def body(self, tenant: str, name: str, version: int) -> JsonObject:
        """What a version says.

        Raises:
            NotFound: there is no such version, or it was deleted.
        """
        with redis_errors():
            blob = self._client.hget(keys.presets(tenant, "contents"), f"{name}@{version}")
        if blob is None:
            raise NotFound(f"no version {version} of preset {name!r}")
        with reading(f"preset {name}"):
            found: JsonObject = unpack(blob)
        return found

    def all(self, tenant: str) -> Iterator[StoredPreset]:
        """A tenant's presets by name. One whose record cannot be read is left out, with a line in
        the log."""
        with redis_errors():
            found = hash_of(self._client.hgetall(keys.presets(tenant)))
        rows = sorted((raw_name.decode(), raw) for raw_name, raw in found.items())
        return readable(rows, lambda row: _preset(*row), lambda row: f"preset {row[0]}")

    def delete(self, tenant: str, name: str, version: int | None = None) -> bool:
        """Delete a version, or all. Whether there was one. Its number is not given again."""
        with redis_errors():
            gone = self._scripts.forget_preset(
                tenant=tenant, name=name, version=version or 0, most_used=MOST_USED
            )
        return bool(gone)


def _preset(name: str, raw: bytes) -> StoredPreset:
    versions = json.loads(raw)["versions"]
    return StoredPreset(
        name,
        tuple(
            PresetVersion(each["version"], int(each["created_at"]), each["task"], each["title"])
            for each in versions
        ),
    )


def _refuse_full(outcome: str, name: str, most_stored: int) -> None:
    if outcome == "presets_full":
        message = f"you have {MOST_PRESETS} presets, which is the most; delete one first"
        raise Conflict(message, code="too_many_presets")
    if outcome == "versions_full":
        message = (
            f"preset {name!r} has {MOST_VERSIONS} versions, which is the most; delete one first"
        )
        raise Conflict(message, code="too_many_versions")
    if outcome == "stored_full":
        raise storage_full(most_stored)
