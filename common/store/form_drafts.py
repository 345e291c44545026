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

import redis

from common.errors import NotFound, TooLarge
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import reading
from common.store.scripts import Scripts

AGE = 86_400  # seconds a draft is kept after it was last changed: as long as its file
MOST_DRAFTS = 20  # of a tenant; the one that was changed longest ago makes room
MOST_BYTES = 256 * 2**10  # of one draft, compressed
MOST_TYPED = 2**20  # bytes of one draft as JSON: what the page shows again
EARLIER_MOST = 96 * 2**20  # bytes of a draft that an earlier version kept
ID = re.compile(r"[0-9a-f]{16}")


class FormDrafts:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def keep(self, tenant: str, typed: Mapping[str, str], draft_id: str = "") -> str:
        """Keep what was typed, by input name, under the id of a draft that there is or was, or
        under a new one. Answers the id.

        Raises:
            TooLarge: it is more than a draft may have.
        """
        if not ID.fullmatch(draft_id):
            draft_id = secrets.token_hex(8)
        plain = json.dumps(dict(typed), ensure_ascii=False).encode(errors="surrogatepass")
        packed = zlib.compress(plain, 1) if len(plain) <= MOST_TYPED else b""
        if not packed or len(packed) > MOST_BYTES:
            raise TooLarge(
                f"this is more than a draft may have ({MOST_TYPED // 1024:,} KiB, or "
                f"{MOST_BYTES // 1024} KiB compressed); put the prompts into a file",
                field="prompts",
            )
        with redis_errors():
            self._scripts.keep_form(
                tenant=tenant, draft=draft_id, age=AGE, most=MOST_DRAFTS, body=packed
            )
        return draft_id

    def get(self, tenant: str, draft_id: str) -> dict[str, str]:
        """What was typed. Another tenant's draft is not found, nor is one that has expired."""
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
            found = json.loads(zlib.decompressobj().decompress(blob, EARLIER_MOST))
            return {str(name): str(text) for name, text in found.items()}
