"""The prompts that engines are measured with: the same token ids on every machine."""

from __future__ import annotations

import random
from dataclasses import dataclass

NEW_TOKENS = 64
SHARED_TOKENS = 400  # the long instruction of the second mix


@dataclass(frozen=True)
class Mix:
    prompts: list[list[int]]
    new_tokens: int = NEW_TOKENS

    @property
    def generated(self) -> int:
        return len(self.prompts) * self.new_tokens

    def warming(self) -> Mix:
        """As many prompts as long, four new tokens each, that share no beginning with these."""
        return Mix([prompt[::-1] for prompt in self.prompts], 4)

    def first(self, rows: int) -> Mix:
        """Only so many of the prompts."""
        return Mix(self.prompts[:rows], self.new_tokens)

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))


@dataclass(frozen=True)
class Texts:
    """The same as texts, which each contestant turns into tokens itself."""

    prompts: list[str]
    new_tokens: int = NEW_TOKENS

    @property
    def generated(self) -> int:
        return len(self.prompts) * self.new_tokens

    def warming(self) -> Texts:
        """As many prompts with as many words, four new tokens each, that begin otherwise."""
        return Texts([" ".join(reversed(text.split())) for text in self.prompts], 4)


def passages(rows: int, text: str) -> Texts:
    """`rows` passages of 30 to 70 words from all over a text."""
    words, rng = text.split(), random.Random(rows)
    starts = [rng.randrange(len(words) - 70) for _ in range(rows)]
    return Texts([" ".join(words[at : at + rng.randint(30, 70)]) for at in starts])


def short_prompts(rows: int, vocabulary: int) -> Mix:
    """`rows` prompts of 38-98 tokens that share nothing."""
    rng = random.Random(rows)
    return Mix([_ids(rng, rng.randint(38, 98), vocabulary) for _ in range(rows)])


def shared_instruction(rows: int, vocabulary: int) -> Mix:
    """`rows` prompts of 38-98 tokens after the same instruction of 400."""
    rng = random.Random(-rows)
    instruction = _ids(rng, SHARED_TOKENS, vocabulary)
    return Mix([instruction + _ids(rng, rng.randint(38, 98), vocabulary) for _ in range(rows)])


def one_prompt(tokens: int, vocabulary: int) -> Mix:
    """A prompt of so many tokens, after which one is generated."""
    return Mix([_ids(random.Random(tokens), tokens, vocabulary)], 1)


def _ids(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    return [rng.randrange(vocabulary // 100, vocabulary) for _ in range(count)]
