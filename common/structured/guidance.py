"""The only door to llguidance, which says which tokens may come next in a text of a grammar.

llguidance never raises for a bad grammar or a bad token: a matcher is in error then, and its mask
allows everything. So every call here looks for that.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer, get_version
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from common.structured.blame import place_of_blame, reason
from common.structured.control_tokens import without_control_texts
from common.structured.exponents import Exponents
from common.structured.grammar import JSON_STYLE, Grammar
from common.structured.refusal import unusable
from common.structured.spaces import Spaces

Mask: TypeAlias = NDArray[np.int32]  # (rows, ceil(vocabulary / 32)), a bit for each token

MOST_KEPT = 128  # pristine matchers of one tokenizer
# Most readings of a text at one place. Schemas with many alternatives begin with as many; a grammar
# that somebody wrote may have more with each token (`e: e e | "a"`), until a token takes seconds.
MOST_READINGS, MOST_READINGS_SENT = 2_000, 150


# To build expressions, at first (some 0.1 s) and for each token. What is built for a token per byte
# when a job is submitted takes more in a model's longer ones, so that workers have more.
FUEL, MORE_FUEL = (300_000, 100_000), (3_000_000, 1_000_000)


def limits(readings: int, fuel: tuple[int, int] = MORE_FUEL) -> LLParserLimits:
    return LLParserLimits(
        max_items_in_row=readings,
        initial_lexer_fuel=fuel[0],
        step_lexer_fuel=fuel[1],
        max_lexer_states=20_000,  # 0.5 to 2 kB each, of each text on its way
        max_grammar_size=100_000,
        verbose_errors=False,  # without the grammar's text
    )


BYTES = "byte"  # llguidance's own tokenizer: a token for each byte, and six special ones
BYTE_VOCABULARY, BYTE_END = 262, 261


# What a source has that is a schema, and one with a schema in it: llguidance makes JSON of them
# with numbers as long as you like.
SCHEMA, SCHEMA_INSIDE = '"json_schema":', "%json "


def version() -> str:
    """The version of llguidance. Another one may continue a text differently."""
    return str(get_version())


def bounds_spaces() -> bool:
    """Whether llguidance takes the pattern of white space once, as from 1.8 on."""
    found = re.search(r"@(\d+)\.(\d+)", version())
    return found is None or (int(found[1]), int(found[2])) >= (1, 8)


def empty_mask(rows: int, vocabulary: int) -> Mask:
    """A mask that allows everything."""
    return np.full((rows, (vocabulary + 31) // 32), -1, dtype=np.int32)


class Bound(Protocol):
    """Bounds what llguidance does not. A text has a place there, 0 at first."""

    too_long: int  # the place of a text that has gone too far
    fault: str  # what is told of such a text

    def after(self, place: int, token: int, /) -> int:
        """The place of a text that goes on by this token."""

    def narrow(self, place: int, words: NDArray[np.int32], /) -> None:
        """Take what would go too far out of a row of allowed tokens."""


class Matcher:
    """One text on its way through a grammar, and through what bounds it beside llguidance."""

    def __init__(self, inner: LLMatcher, bounds: tuple[Bound, ...] = ()):
        self._inner = inner
        self._bounds = bounds
        self._places = [0] * len(bounds)

    def copy(self) -> Matcher:
        """Another text that has come as far as this one."""
        made = Matcher(self._inner.deep_copy(), self._bounds)
        made._places = list(self._places)
        return made

    def fill(self, mask: Mask, row: int = 0) -> bool:
        """Put the tokens that may come next into a row of the mask; whether that went well. A row
        of a text that failed is not to be used."""
        fill_next_token_bitmask(self._inner, mask, row)
        self.narrow(mask, row)
        return not self._inner.is_error()

    def narrow(self, mask: Mask, row: int) -> None:
        """Take out of a row that llguidance filled what would go too far."""
        for bound, place in zip(self._bounds, self._places, strict=True):
            bound.narrow(place, mask[row])

    def allows(self, token_id: int) -> bool:
        """Whether a token may come next in a text that is not stopped. Takes a tenth of what a mask
        takes."""
        if self._fault(self._after(token_id)):
            return False
        return not self._inner.is_error() and bool(self._inner.validate_tokens([token_id]))

    def accept(self, token_id: int) -> bool:
        """Go on by a token; False if it may not come here, and the text has failed then."""
        self._places = self._after(token_id)
        return bool(self._inner.consume_token(token_id)) and self.failed is None

    @property
    def is_stopped(self) -> bool:
        """Whether nothing but the end can follow; also where the text has failed."""
        return bool(self._inner.is_stopped()) or self._fault(self._places) is not None

    @property
    def can_end(self) -> bool:
        """Whether the text is complete as it is."""
        return self.failed is None and bool(self._inner.is_accepting())

    @property
    def failed(self) -> str | None:
        """Why the text cannot go on, where a limit struck or a token was not allowed."""
        if fault := self._fault(self._places):
            return fault
        return str(self._inner.get_error()) if self._inner.is_error() else None

    def _after(self, token_id: int) -> list[int]:
        """Where the text is, by each bound, if it goes on by a token."""
        pairs = zip(self._bounds, self._places, strict=True)
        return [bound.after(place, token_id) for bound, place in pairs]

    def _fault(self, places: list[int]) -> str | None:
        pairs = zip(self._bounds, places, strict=True)
        return next((bound.fault for bound, place in pairs if place == bound.too_long), None)


class Masks:
    """Fills the masks of all rows of a step, in so many threads."""

    def __init__(self, threads: int):
        self._executor = LLExecutor(threads)

    def fill(self, matchers: Sequence[tuple[Matcher, int]], mask: Mask) -> None:
        """Each matcher's tokens into its row. Those that are `failed` then have no mask."""
        pairs = [(matcher._inner, row) for matcher, row in matchers]
        fill_next_token_bitmask_par(self._executor, pairs, mask)
        for matcher, row in matchers:
            matcher.narrow(mask, row)


class Guide:
    """Grammars in the tokens of one model. May be used by several threads.

    `tokenizer_json` is a file of `tokenizers`, or None for a token per byte (ids 0 to 255).
    `vocabulary` is the width of the logits; `eos_ids` are the tokens that end a text.
    """

    def __init__(self, tokenizer_json: bytes | None, vocabulary: int, eos_ids: Iterable[int]):
        source = BYTES if tokenizer_json is None else without_control_texts(tokenizer_json)
        self._tokenizer = LLTokenizer(source, n_vocab=vocabulary, eos_token=sorted(eos_ids))
        self._fuel = FUEL if tokenizer_json is None else MORE_FUEL
        spelled = cache(self._spelled)
        self._exponents: Bound = Exponents(self._tokenizer.vocab_size, spelled)
        self._of_schemas: tuple[Bound, ...] = (self._exponents,)
        if not bounds_spaces():
            self._of_schemas += (Spaces(self._tokenizer.vocab_size, spelled),)
        self._kept: OrderedDict[str, Matcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, grammar: Grammar) -> Matcher:
        """A new text of this grammar.

        Raises:
            InvalidRequest: `invalid_grammar`; the message says what cannot be used.
        """
        with self._lock:
            if kept := self._kept.get(grammar.key):
                self._kept.move_to_end(grammar.key)
                return kept.copy()
        made = self.built(grammar)
        with self._lock:
            self._kept[grammar.key] = made
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return made.copy()

    def built(self, grammar: Grammar) -> Matcher:
        """The same; nothing of it is kept."""
        made = self._built(grammar.source, MOST_READINGS_SENT if grammar.sent else MOST_READINGS)
        # Some grammars are only found to be empty or too large when a token is asked for.
        made.fill(empty_mask(1, self._tokenizer.vocab_size))
        if message := made.failed:
            place = f" cannot be honoured: {self._blamed(grammar, message)}" if grammar.json else ""
            raise unusable(f"{place.strip()} {reason(message)}".strip(), grammar.field)
        return made

    def _built(self, source: str, readings: int = MOST_READINGS) -> Matcher:
        most = limits(readings, self._fuel)
        inner = LLMatcher(self._tokenizer, source, log_level=0, limits=most)
        if SCHEMA in source:
            return Matcher(inner, self._of_schemas)
        return Matcher(inner, (self._exponents,) if SCHEMA_INSIDE in source else ())

    def _spelled(self, token: int) -> bytes:
        """The text of a token; a special one has none: it is called by some random number here."""
        if self._tokenizer.is_special_token(token):
            return b""
        return bytes(self._tokenizer.decode_bytes([token]))

    def _blamed(self, grammar: Grammar, message: str) -> str:
        """The place in a schema that is to blame."""

        def error_of(schema: dict[str, Any]) -> str | None:
            styled = {**schema, "x-guidance": JSON_STYLE}
            return self._built(json.dumps({"grammars": [{"json_schema": styled}]})).failed

        found = json.loads(grammar.source)["grammars"][0].get("json_schema", {})
        return place_of_blame(found, message, error_of)


def byte_guide() -> Guide:
    """The guide for models whose tokenizer is not known: what it refuses, others refuse as well."""
    return Guide(None, BYTE_VOCABULARY, [BYTE_END])
