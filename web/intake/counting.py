"""Counts the tokens of prompts without holding up other requests, however long the texts are.

A tokenizer reads about a million characters a second, and 100,000 tokens can stand for several
millions. So long texts are counted in a real thread, and counting a very long one stops as soon as
it is sure not to fit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import gevent

from common.tokenizer import SHORT, Tokenizer

T = TypeVar("T")

# Characters of a text that are counted at once: about 100 MB of tokens if each character is one.
PIECE = 1 << 20
SEAM = 64  # more tokens than cutting a text in two can add
# For very long texts, so that the tokenizer's own threads stay free for other requests.
_one_at_a_time = threading.Lock()


def count_tokens(tokenizer: Tokenizer, texts: list[str], special: bool) -> list[int]:
    """How many tokens each text has, with the special tokens around it if `special`."""
    if sum(map(len, texts)) <= SHORT:
        return tokenizer.count_batch(texts, special)
    return in_a_thread(max(map(len, texts)), lambda: tokenizer.count_batch(texts, special))


class PatientTokens:
    """A tokenizer for truncation (`common/prompting/truncation.py`) that reads long texts in a real
    thread."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def count_batch(self, texts: list[str], special: bool = True) -> list[int]:
        return count_tokens(self._tokenizer, texts, special)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        if len(text) <= SHORT:
            return self._tokenizer.offsets(text)
        return in_a_thread(len(text), lambda: self._tokenizer.offsets(text))


def in_a_thread(size: int, work: Callable[[], T]) -> T:
    """Run work of a tokenizer, on so many characters or tokens, in a real thread; very large work
    one at a time."""
    with _one_at_a_time if size > PIECE // 4 else nullcontext():
        found: T = gevent.get_hub().threadpool.apply(work)
    return found


def most_characters(tokenizer: Tokenizer | None, context: int) -> int | None:
    """How many characters a text of `context` tokens has at most; None where that is not known."""
    return None if tokenizer is None else context * tokenizer.longest


def is_too_long(tokenizer: Tokenizer, text: str, context: int) -> bool:
    """Whether the text is sure to have more than `context` tokens. False if that takes counting all
    of it."""
    if len(text) > context * tokenizer.longest:
        return True
    if len(text) <= PIECE:
        return False
    count = 0
    for piece, start in enumerate(range(0, len(text), PIECE)):
        count += count_tokens(tokenizer, [text[start : start + PIECE]], special=False)[0]
        if count > context + piece * SEAM:
            return True
    return False
