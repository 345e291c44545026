"""The text of single tokens of a `tokenizers` file, some of which are a part of a character."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from common.generation import Spelling

ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # a byte in vocabularies with a byte fallback
# Decoded before each token: the first token of a text may lose its leading space.
BEFORE = "a"


class Spellings:
    """Spells the tokens of one tokenizer, and remembers each."""

    def __init__(self, backend: Any):
        self._backend = backend
        self._known: dict[int, Spelling] = {}
        self._added = backend.get_added_tokens_decoder()  # id -> AddedToken
        self._before = backend.encode(BEFORE, add_special_tokens=False).ids[-1:]
        self._skipped = len(self._text(self._before))
        decoder = backend.decoder.__getstate__() if backend.decoder else b""
        self._byte_level = b'"ByteLevel"' in decoder
        self._byte_fallback = b'"ByteFallback"' in decoder

    def spell(self, token_id: int) -> Spelling:
        """A single token, as it appears in the middle of a text."""
        if token_id not in self._known:
            self._known[token_id] = self._spell(token_id)
        return self._known[token_id]

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The ids of the tokens that do not appear in texts, by their spelling."""
        return {added.content: token_id for token_id, added in self._added.items() if added.special}

    @cached_property
    def added_ids(self) -> dict[str, int]:
        """The ids of the tokens that were added to the vocabulary, by their spelling."""
        return {added.content: token_id for token_id, added in self._added.items()}

    def _spell(self, token_id: int) -> Spelling:
        added = self._added.get(token_id)
        if added and added.special:
            return Spelling(token_id, added.content, b"")
        text = self._text([*self._before, token_id])[self._skipped :]
        if "\N{REPLACEMENT CHARACTER}" not in text:
            return Spelling(token_id, text)
        raw = self._bytes(token_id, text)
        try:
            return Spelling(token_id, raw.decode())
        except UnicodeDecodeError:
            return Spelling(token_id, raw.decode(errors="backslashreplace"), raw)

    def _text(self, ids: list[int]) -> str:
        return str(self._backend.decode(ids, skip_special_tokens=True))

    def _bytes(self, token_id: int, text: str) -> bytes:
        """The bytes of a token that is no text by itself, from its entry in the vocabulary."""
        written = self._backend.id_to_token(token_id) or ""
        if self._byte_fallback and (match := ONE_BYTE.fullmatch(written)):
            return bytes.fromhex(match[1])
        if (
            self._byte_level
            and token_id not in self._added
            and all(letter in BYTE_OF for letter in written)
        ):
            return bytes(BYTE_OF[letter] for letter in written)
        return text.encode()


def _byte_letters() -> dict[str, int]:
    """The byte for each letter of byte-level vocabularies. Printable bytes are letters themselves,
    the others are numbered from 256 on (the convention of GPT-2's vocabulary)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


BYTE_OF = _byte_letters()
