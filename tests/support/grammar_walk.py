"""Random texts of a grammar: each token is any of those that the mask allows."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from common.structured.guidance import BYTE_VOCABULARY, Guide, Matcher, byte_guide, empty_mask
from common.tokenizer import JsonTokenizer

LONG = 40  # tokens after which what closes something is taken, where it is allowed
MOST = 4_000  # tokens


class Walker:
    """Walks through grammars in the tokens of a vocabulary."""

    def __init__(
        self,
        guide: Guide,
        vocabulary: int,
        text_of: Callable[[list[int]], str],
        eos_ids: frozenset[int],
    ):
        self.guide, self._vocabulary, self._text_of = guide, vocabulary, text_of
        self._eos_ids = eos_ids
        self._closing = [
            token
            for token in range(vocabulary)
            if token not in eos_ids and text_of([token]) in ('"', "}", "]", '"}', '"]', "}]")
        ]

    def text(self, begun: Matcher, rng: random.Random) -> str | None:
        """A text; None if it did not end."""
        matcher, found = begun.copy(), list[int]()
        while not matcher.is_stopped:
            allowed = self.allowed(matcher)
            if not allowed or len(found) == MOST:
                assert matcher.can_end or len(found) == MOST
                break
            if matcher.can_end and (len(found) > LONG or rng.random() < 0.3):
                break
            closing = [token for token in self._closing if token in allowed]
            token = rng.choice(closing if len(found) > LONG and closing else sorted(allowed))
            assert matcher.accept(token), matcher.failed
            found.append(token)
        assert matcher.failed is None
        return self._text_of(found) if matcher.can_end else None

    def allowed(self, matcher: Matcher) -> set[int]:
        """The tokens that may come next, those that end a text left out."""
        mask = empty_mask(1, self._vocabulary)
        assert matcher.fill(mask), matcher.failed
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[: self._vocabulary]
        return {int(token) for token in np.flatnonzero(bits)} - self._eos_ids


def byte_walker() -> Walker:
    """Each byte is a token: the finest steps there are."""
    special = frozenset(range(256, BYTE_VOCABULARY))

    def text(ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    return Walker(byte_guide(), BYTE_VOCABULARY, text, special)


def token_walker(tokenizer: JsonTokenizer, vocabulary: int) -> Walker:
    guide = Guide(tokenizer.dumps(), vocabulary, tokenizer.eos_ids)
    return Walker(guide, vocabulary, tokenizer.decode, tokenizer.eos_ids)
