"""A batch of outputs beside their references; what several metrics need is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from evals.arrays import Bools, Floats
from evals.bleu_words import TOKENIZERS
from evals.item import Output
from evals.ngrams import Ngrams
from evals.text_units import answer_words, words

T = TypeVar("T")
# The words of each row's output and of its references, as numbers.
Texts: TypeAlias = list[list[list[int]]]


class Rows:
    """`outputs[i]` is compared with each of `references[i]`, which are not empty texts; there may
    be none."""

    def __init__(
        self, outputs: Sequence[Output], references: Sequence[tuple[str, ...]], tokenizer: str
    ):
        self.outputs = outputs
        self.references = references
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.outputs)

    @cached_property
    def referenced(self) -> Bools:
        return np.array([len(texts) > 0 for texts in self.references], np.bool_)

    @cached_property
    def words(self) -> Texts:
        return self._numbered(words)

    @cached_property
    def word_ngrams(self) -> Ngrams:
        return Ngrams.of_words(self.words, 4)

    @cached_property
    def answers(self) -> Texts:
        return self._numbered(answer_words)

    def bleu_ngrams(self) -> Ngrams:
        """Not kept: only BLEU needs them."""
        return Ngrams.of_words(self._numbered(TOKENIZERS[self.tokenizer]), 4)

    def character_ngrams(self) -> Ngrams:
        """Not kept: only chrF needs them."""
        return Ngrams.of_characters(self._cut(lambda text: "".join(text.split())), 6)

    def existing(self, values: Floats) -> Floats:
        """`values[row, j]` with NaN where a row has no reference j."""
        counts = np.array([len(texts) for texts in self.references])
        return np.where(np.arange(values.shape[1]) < counts[:, None], values, np.nan)

    def numbers(self, of_row: Callable[[int], float | None]) -> Floats:
        """One number of each row; None becomes NaN."""
        found = [of_row(row) for row in range(len(self))]
        return np.array([[np.nan if value is None else value] for value in found], np.float64)

    def _numbered(self, cut: Callable[[str], list[str]]) -> Texts:
        """Equal words of the batch have equal numbers: a long text takes less memory so."""
        number: dict[str, int] = {}
        return self._cut(lambda text: [number.setdefault(w, len(number)) for w in cut(text)])

    def _cut(self, cut: Callable[[str], T]) -> list[list[T]]:
        return [
            [cut(output.text), *map(cut, references)]
            for output, references in zip(self.outputs, self.references, strict=True)
        ]
