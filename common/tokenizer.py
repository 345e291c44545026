"""Tokenizers: text to token ids and back; the same code in the web tier and the worker.

Needs `tokenizers`, not torch. The worker publishes its tokenizer with its card (`dumps`), and the
web tier loads it (`load`), so that both count the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, Protocol

from common.generation import DecodeStream, Spelling
from common.spelling import Spellings

SHORT = 16_384  # characters of all texts that are counted in one call, which takes about 10 ms
# Tags that are part of an answer's text, whatever a tokenizer's file says of them: what is between
# them is a call of a function.
SHOWN = frozenset({"<tool_call>", "</tool_call>"})
# Most characters of a word of the echo engine, with the white space around it.
LONGEST_WORD = 64


class Tokenizer(Protocol):
    """Encodes and decodes for one model.

    `encode` returns ids; `special` adds the tokens that the model expects around plain text (a
    rendered chat has them). `count_batch` returns only their numbers: for short texts in this
    thread, for others in the tokenizer's own threads, without the interpreter's lock. `offsets` is
    where each token of a plain text begins and ends, in characters; two tokens that share a
    character both have it. `decode` is for prompts given as ids, and `name` is a token's entry in
    the vocabulary. `special_id` is the id of the token that is written so and never shows in a
    text, `added_id` that of one that always is a token of its own. `longest` is the most characters
    of one token.
    """

    eos_ids: frozenset[int]
    kind: Literal["json", "words"]

    @property
    def longest(self) -> int: ...

    def encode(self, text: str, special: bool = True) -> list[int]: ...
    def encode_batch(self, texts: list[str], special: bool = True) -> list[list[int]]: ...
    def count_batch(self, texts: list[str], special: bool = True) -> list[int]: ...
    def offsets(self, text: str) -> list[tuple[int, int]]: ...
    def decode(self, ids: list[int]) -> str: ...
    def name(self, token_id: int) -> str: ...
    def spell(self, token_id: int) -> Spelling: ...
    def special_id(self, text: str) -> int | None: ...
    def added_id(self, text: str) -> int | None: ...
    def stream(self) -> DecodeStream: ...
    def dumps(self) -> bytes: ...


class WordTokenizer:
    """The tokenizer of the echo engine: each whitespace-separated word is a token. An id is a
    checksum, so it cannot be decoded."""

    eos_ids: frozenset[int] = frozenset()
    kind: Literal["json", "words"] = "words"
    longest = LONGEST_WORD

    def encode(self, text: str, special: bool = True) -> list[int]:  # noqa: ARG002  # words have no specials
        return [zlib.crc32(word.encode()) for word in text.split()]

    def encode_batch(self, texts: list[str], special: bool = True) -> list[list[int]]:
        return [self.encode(text, special) for text in texts]

    def count_batch(self, texts: list[str], special: bool = True) -> list[int]:  # noqa: ARG002  # words have no specials
        return [len(text.split()) for text in texts]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\S+", text)]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))  # the digits of the checksums

    def name(self, token_id: int) -> str:
        return str(token_id)

    def spell(self, token_id: int) -> Spelling:
        return Spelling(token_id, str(token_id))

    def special_id(self, text: str) -> int | None:  # noqa: ARG002  # words have no specials
        return None

    def added_id(self, text: str) -> int | None:  # noqa: ARG002  # words have no specials
        return None

    def stream(self) -> DecodeStream:
        raise TypeError("the echo engine makes its text itself")

    def dumps(self) -> bytes:
        return b""


class JsonTokenizer:
    """A `tokenizers` file, which every fast Hugging Face tokenizer has."""

    kind: Literal["json", "words"] = "json"

    def __init__(self, blob: bytes, eos_ids: frozenset[int] = frozenset()):
        import tokenizers  # here, because the echo engine does without

        self._blob = blob
        self._backend = tokenizers.Tokenizer.from_str(blob.decode())
        added = self._backend.get_added_tokens_decoder().values()
        if any(each.special and each.content in SHOWN for each in added):
            self._backend = tokenizers.Tokenizer.from_str(_showing(blob))
        self._backend.no_truncation()
        self._backend.no_padding()
        self.eos_ids = eos_ids

    def encode(self, text: str, special: bool = True) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=special).ids)

    def encode_batch(self, texts: list[str], special: bool = True) -> list[list[int]]:
        return [
            encoding.ids
            for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=special)
        ]

    def count_batch(self, texts: list[str], special: bool = True) -> list[int]:
        if sum(map(len, texts)) <= SHORT:
            return [len(self._backend.encode(text, add_special_tokens=special)) for text in texts]
        return [
            len(encoding)
            for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=special)
        ]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        # A batch of one, because for that the interpreter's lock is given up.
        (encoding,) = self._backend.encode_batch([text], add_special_tokens=False)
        return encoding.offsets

    @cached_property
    def longest(self) -> int:
        return max(map(len, self._backend.get_vocab(with_added_tokens=True)), default=1)

    def decode(self, ids: list[int]) -> str:
        """The text of all tokens, special ones too."""
        return str(self._backend.decode(ids, skip_special_tokens=False))

    def name(self, token_id: int) -> str:
        return str(self._backend.id_to_token(token_id) or "")

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self._backend)

    def spell(self, token_id: int) -> Spelling:
        return self._spellings.spell(token_id)

    def special_id(self, text: str) -> int | None:
        return self._spellings.special_ids.get(text)

    def added_id(self, text: str) -> int | None:
        return self._spellings.added_ids.get(text)

    def stream(self) -> DecodeStream:
        return _Stream(self._backend, self.spell)

    def dumps(self) -> bytes:
        return self._blob


def _showing(blob: bytes) -> str:
    """The file with `SHOWN` as tokens that are not special."""
    whole = json.loads(blob)
    for token in whole["added_tokens"]:
        if token["content"] in SHOWN:
            token["special"] = False
    return json.dumps(whole)


class _Stream:
    """Decodes token by token, and holds back the bytes of an unfinished character."""

    def __init__(self, backend: Any, spell: Callable[[int], Spelling]):
        self._backend = backend
        self._spell = spell
        self._held: list[int] = []  # tokens since the last text
        self._begun = False  # there was text before those
        self._start()

    def _start(self) -> None:
        from tokenizers.decoders import DecodeStream as Native

        self._native = Native(skip_special_tokens=True)

    def step(self, token_id: int) -> str:
        self._held.append(token_id)
        try:
            text = self._native.step(self._backend, token_id) or ""
        except Exception as error:  # the library raises no narrower class
            if "prefix" not in str(error).lower():
                raise
            # Bytes that form no character changed the text of earlier ones. What was returned
            # stays; decoding starts again with these.
            text = str(self._backend.decode(self._held, skip_special_tokens=True))
            self._start()
            # Its text was returned above; what follows is not the start of a text.
            self._native.step(self._backend, token_id)
        if text:
            self._held, self._begun = [], True
        return text

    def rest(self) -> str:
        # The library takes each replacement character at the end for a part of a character, also
        # one that the model wrote. The bytes tell them apart; those of no character are left out.
        held, self._held = self._held, []
        raw = b"".join(self._spell(token).added for token in held)
        text = raw.decode(errors="ignore")
        if text.startswith(" ") and not self._begun:
            # Some decoders take the space from the first word of a text.
            whole = str(self._backend.decode(held, skip_special_tokens=True))
            text = text if whole.startswith(" ") else text[1:]
        return text


def load(kind: str, blob: bytes | None) -> Tokenizer | None:
    """The tokenizer of a card; None for `none`: only the worker can count then."""
    if kind == "words":
        return WordTokenizer()
    return JsonTokenizer(blob) if kind == "json" and blob else None


def digest(*parts: bytes | str) -> str:
    """A short hash of these parts of a model."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:32]
