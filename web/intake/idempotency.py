"""Idempotency keys: the same key sent again with the same content makes nothing twice, and with
other content is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from common.cooperate import give_way
from common.errors import InvalidRequest
from common.store.submitted import NO_KEY, KeyUse, MadeWith, key_reused
from common.stored_item import StoredItem
from web.intake.drafts import Draft, Drafts
from web.schemas.headers import IDEMPOTENCY_KEY

READ_TOGETHER = 64  # drafts, before others are served


def check_key(key: str | None) -> None:
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 255 visible ASCII characters", field="Idempotency-Key"
        )


class Idempotency:
    """A key, and fingerprints of what was sent with it. Without a key nothing is digested.

    What was sent are the fields that were given and the drafts as they were read: nothing that a
    model, a preset or a limit adds to them, since the same request must be the same after those
    have changed.

    Raises:
        InvalidRequest: the key cannot be one.
    """

    def __init__(self, key: str | None):
        check_key(key)
        self.key = key
        self._sent = hashlib.sha256()
        self._earlier = EarlierFingerprint()
        self._items_were_sent = True
        self._named = ""

    def begin(
        self,
        options: BaseModel,
        drafts: Iterable[Draft],
        instead: Mapping[str, Any] | None = None,
    ) -> None:
        """What was sent beside the items, or what was sent `instead` of options and items, where
        these are in the store already."""
        if not self.key:
            return
        self._items_were_sent = instead is None
        given = options.model_dump(mode="json", exclude_unset=True) if instead is None else instead
        self._sent.update(_json(given))
        self._earlier.add_options(options)
        if isinstance(drafts, Drafts) and drafts.input_file and instead is None:
            self._named = sent_fingerprint({"input_file": drafts.input_file, "given": given})

    def begin_append(self, job_id: str) -> None:
        if self.key:
            self._sent.update(_json({"append": job_id}))
            self._earlier.add({"append": job_id})

    def made(self, drafts: Iterable[Draft], before: MadeWith) -> bool:
        """Whether the key made something of the same content before."""
        if self._named and self._named == before.named:  # the file may be gone by now
            return True
        return self.of(drafts).fingerprint == before.fingerprint

    def watch(self, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """The drafts, each of which is added when it is taken."""
        for draft in drafts:
            if self.key and self._items_were_sent:
                self._sent.update(_json([draft.value, draft.kept]))
            yield draft

    def of(self, drafts: Iterable[Draft]) -> KeyUse:
        """The use of the key for all of the drafts, which are read to their end if they were
        sent."""
        for count, _ in enumerate(self.watch(drafts) if self._items_were_sent else ()):
            if count % READ_TOGETHER == 0:
                give_way()
        return self.use()

    def add_stored(self, item: StoredItem) -> None:
        """An item as it is stored, which only the earlier fingerprint is taken of."""
        if self.key:
            self._earlier.add(item)

    def use(self) -> KeyUse:
        """Key and fingerprints as the store takes them."""
        if not self.key:
            return NO_KEY
        sent, earlier = self._sent.hexdigest(), self._earlier.hexdigest()
        return KeyUse(self.key, sent, earlier, self._named)


def key_use(key: str | None, sent: Mapping[str, Any]) -> KeyUse:
    """The use of a key for a request that sent only this.

    Raises:
        InvalidRequest: the key cannot be one.
    """
    check_key(key)
    return KeyUse(key, sent_fingerprint(sent)) if key else NO_KEY


def made_before(use: KeyUse, made: MadeWith | None, kind: str) -> str | None:
    """The id of what a key has made of the same content; None where it has made nothing.

    Raises:
        KeyReused: it was of other content.
    """
    if made and made.fingerprint != use.fingerprint:
        raise key_reused(kind)
    return made.made if made else None


def sent_fingerprint(sent: Mapping[str, Any]) -> str:
    """The fingerprint of a request that sent only this, for items that are in the store."""
    return hashlib.sha256(_json(sent)).hexdigest()


class EarlierFingerprint:
    """The fingerprint that web processes up to the store's schema 3 take: of all options with their
    defaults, and of the items as they are stored. Keys that they noted stay valid while all parts
    are upgraded, and the other way round."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._known = True  # they could have been sent all of it

    def add(self, part: Mapping[str, Any]) -> None:
        if self._known:
            self._digest.update(_json(part))

    def add_options(self, options: BaseModel) -> None:
        given = options.model_dump(mode="json", include=EARLIER_FIELDS)
        later = [given.get("params", {}).pop(name, None) for name in LATER_PARAMS]
        self._known = options.model_fields_set <= EARLIER_FIELDS and not any(later)
        self.add(given)

    def hexdigest(self) -> str:
        """Empty for content that they refuse."""
        return self._digest.hexdigest() if self._known else ""


# Of the options that those processes know.
EARLIER_FIELDS = {
    *("model", "params", "chat_template_kwargs", "webhook", "priority", "deadline"),
    *("metadata", "limits", "prompt_column"),
}
# Parameters that they do not know; their fingerprint is taken without them.
LATER_PARAMS = ("output", "thinking")


def _json(value: Any) -> bytes:
    """Other types than JSON's may be in a draft that is refused for them."""
    return json.dumps(value, sort_keys=True, default=repr).encode()
