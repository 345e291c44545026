"""Tokenizers: text to ids and back; the same code in the web tier and the worker.

Needs `tokenizers`, never torch. What the worker publishes with its card (`dumps`) is all the web
tier needs to count exactly (`load`).
"""

from __future__ import annotations

import hashlib
import zlib
from functools import cached_property
from typing import Any, Literal, Protocol

from common.generation import DecodeStream, Spelling
from common.spelling import Spellings

SHORT = 16_384  # characters of all texts that are counted together; about 10 ms
# Characters that a word of the echo engine's stands for at most, white space around it included.
LONGEST_WORD = 64


class Tokenizer(Protocol):
    """`encode` gives ids; `special` adds what the model expects around plain text (a rendered chat
    has it already). `count_batch` gives only how many there are: of `SHORT` texts at once, in this
    thread, of longer ones on the tokenizer's own threads and without the interpreter's lock.
    `decode` spells ids that somebody sent in place of a text, `name` is a token's in the
    vocabulary. `longest` is how many characters one token stands for at most."""

    eos_ids: frozenset[int]
    kind: Literal["json", "words"]

    @property
    def longest(self) -> int: ...

    def encode(self, text: str, special: bool = True) -> list[int]: ...
    def encode_batch(self, texts: list[str], special: bool = True) -> list[list[int]]: ...
    def count_batch(self, texts: list[str], special: bool = True) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...
    def name(self, token_id: int) -> str: ...
    def spell(self, token_id: int) -> Spelling: ...
    def special_id(self, text: str) -> int | None: ...
    def stream(self) -> DecodeStream: ...
    def dumps(self) -> bytes: ...


class WordTokenizer:
    """The echo engine's: one token a whitespace-separated word. Ids are checksums, which no one can
    undo."""

    eos_ids: frozenset[int] = frozenset()
    kind: Literal["json", "words"] = "words"
    longest = LONGEST_WORD

    def encode(self, text: str, special: bool = True) -> list[int]:  # noqa: ARG002  # words have no specials
        return [zlib.crc32(word.encode()) for word in text.split()]

    def encode_batch(self, texts: list[str], special: bool = True) -> list[list[int]]:
        return [self.encode(text, special) for text in texts]

    def count_batch(self, texts: list[str], special: bool = True) -> list[int]:  # noqa: ARG002  # words have no specials
        return [len(text.split()) for text in texts]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))  # a checksum has no word; its own digits are one

    def name(self, token_id: int) -> str:
        return str(token_id)

    def spell(self, token_id: int) -> Spelling:
        return Spelling(token_id, str(token_id))

    def special_id(self, text: str) -> int | None:  # noqa: ARG002  # words have no specials
        return None

    def stream(self) -> DecodeStream:
        raise TypeError("the echo engine makes its text itself")

    def dumps(self) -> bytes:
        return b""


class JsonTokenizer:
    """A `tokenizers` file, as every fast Hugging Face tokenizer has one."""

    kind: Literal["json", "words"] = "json"

    def __init__(self, blob: bytes, eos_ids: frozenset[int] = frozenset()):
        import tokenizers  # here: the echo engine and a web tier that serves only it do without

        self._blob = blob
        self._backend = tokenizers.Tokenizer.from_str(blob.decode())
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

    @cached_property
    def longest(self) -> int:
        return max(map(len, self._backend.get_vocab(with_added_tokens=True)), default=1)

    def decode(self, ids: list[int]) -> str:
        """All of it, special tokens too: nothing of a prompt is left out."""
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

    def stream(self) -> DecodeStream:
        return _Stream(self._backend)

    def dumps(self) -> bytes:
        return self._blob


class _Stream:
    """Incremental decoding that holds back bytes of an unfinished character."""

    def __init__(self, backend: Any):
        self._backend = backend
        self._held: list[int] = []  # tokens since the last text
        self._start()

    def _start(self) -> None:
        from tokenizers.decoders import DecodeStream as Native

        self._native = Native(skip_special_tokens=True)

    def step(self, token_id: int) -> str:
        self._held.append(token_id)
        try:
            text = self._native.step(self._backend, token_id) or ""
        except Exception as error:  # the binding raises nothing narrower
            if "prefix" not in str(error).lower():
                raise
            # Bytes that make no character changed how earlier ones read: what was given out stays,
            # these begin anew.
            text = str(self._backend.decode(self._held, skip_special_tokens=True))
            self._start()
            # Given out already; what follows is not the start of a text.
            self._native.step(self._backend, token_id)
        if text:
            self._held = []
        return text


def load(kind: str, blob: bytes | None) -> Tokenizer | None:
    """The tokenizer a card speaks of; None for `none`, whose counts only the worker knows."""
    if kind == "words":
        return WordTokenizer()
    return JsonTokenizer(blob) if kind == "json" and blob else None


def digest(*parts: bytes | str) -> str:
    """A short hash of everything that makes a model what it is."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:32]
