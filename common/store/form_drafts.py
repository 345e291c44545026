"""Drafts of the submit form: what somebody had typed into it, kept for a day so that it survives a
reload, a login or another browser.

Knows Redis; nothing of what the form's fields mean.
"""

from __future__ import annotations

import json
import re
import secrets
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import redis

from common.errors import NotFound, TooLarge
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import Unreadable, reading
from common.store.scripts import Scripts

AGE = 86_400  # seconds a draft is kept after it was last changed: as long as its file
MOST_DRAFTS = 20  # of a tenant; the one that was changed longest ago makes room
MOST_BYTES = 256 * 2**10  # of one draft, compressed
MOST_TYPED = 2**20  # bytes of one draft as JSON: what the page shows again
ZLIB = b"x"  # the first byte of what zlib makes
MOST_HEAD = 64  # bytes before it: the draft's version, and who wrote it
EARLIER_MOST = 96 * 2**20  # bytes of a draft that an earlier version kept
ID = re.compile(r"[0-9a-f]{16}")
WRITER = re.compile(r"[0-9a-f]{1,32}")


@dataclass(frozen=True)
class Saved:
    """How a draft was kept. `version` changes with what was typed. `apart`: under another id
    than it was to be, where there is what another window typed."""

    id: str
    version: str
    apart: bool = False


@dataclass(frozen=True)
class FormDraft:
    """A draft: what was typed, by input name, in the version that it has now."""

    typed: dict[str, str]
    version: str


class FormDrafts:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def keep(
        self,
        tenant: str,
        typed: Mapping[str, str],
        draft_id: str = "",
        *,
        seen: str = "",
        writer: str = "",
    ) -> Saved:
        """Keep what was typed, by input name, under the id of a draft that there is or was, or
        under a new one.

        `seen` is the version that it was changed from, `writer` the page that changed it. A draft
        that another page has changed since stays as it is, and this becomes a draft of its own; a
        page need not know of all that it wrote itself. Without `seen` nothing is compared.

        Raises:
            TooLarge: it is more than a draft may have.
        """
        plain = _json(typed)
        packed = zlib.compress(plain, 1) if len(plain) <= MOST_TYPED else b""
        if not packed or len(packed) > MOST_BYTES:
            raise TooLarge(
                f"this is more than a draft may have ({MOST_TYPED // 1024:,} KiB, or "
                f"{MOST_BYTES // 1024} KiB compressed); put the prompts into a file",
                field="prompts",
            )
        writer = writer if WRITER.fullmatch(writer) else ""
        named = bool(ID.fullmatch(draft_id))
        if named and (version := self._kept(tenant, draft_id, seen, writer, packed)):
            return Saved(draft_id, version)
        new_id = secrets.token_hex(8)
        return Saved(new_id, self._kept(tenant, new_id, "", writer, packed), apart=named)

    def _kept(self, tenant: str, draft_id: str, seen: str, writer: str, packed: bytes) -> str:
        """The version that it has now; "" where another page has changed it since this one has
        `seen` it."""
        with redis_errors():
            version: bytes = self._scripts.keep_form(
                tenant=tenant,
                draft=draft_id,
                age=AGE,
                most=MOST_DRAFTS,
                seen=seen,
                writer=writer,
                body=f"{secrets.token_hex(8)} {writer}\n".encode() + packed,
            )
        return version.decode()

    def get(self, tenant: str, draft_id: str) -> FormDraft:
        """Another tenant's draft is not found, nor is one that has expired."""
        blob = None
        if ID.fullmatch(draft_id):
            with redis_errors():
                blob = self._client.get(keys.form(tenant, draft_id))
        if blob is None:
            raise NotFound(
                f"no draft {draft_id[:32]!r} of the form; drafts are kept for a day, the last "
                f"{MOST_DRAFTS} of them"
            )
        with reading(f"draft {draft_id}"):
            return _draft(blob)

    def names_file(self, tenant: str, file_id: str, but: str) -> bool:
        """Whether a draft names this file, beside the draft `but`."""
        with redis_errors():
            ids = [raw.decode() for raw in self._client.zrange(keys.tenant_forms(tenant), 0, -1)]
        for each in ids:
            with suppress(NotFound, Unreadable):
                if each != but and self.get(tenant, each).typed.get("input_file") == file_id:
                    return True
        return False


def _json(typed: Mapping[str, str]) -> bytes:
    """The same for the same, in whatever order it is sent."""
    plain = json.dumps(dict(typed), ensure_ascii=False, sort_keys=True)
    return plain.encode(errors="surrogatepass")


def _draft(blob: bytes) -> FormDraft:
    head, _, packed = blob.partition(b"\n")
    if len(head) > MOST_HEAD or blob[:1] == ZLIB:  # as earlier versions kept it
        head, packed = b"", blob
    found = json.loads(zlib.decompressobj().decompress(packed, EARLIER_MOST))
    return FormDraft(
        {str(name): str(text) for name, text in found.items()}, head.partition(b" ")[0].decode()
    )
