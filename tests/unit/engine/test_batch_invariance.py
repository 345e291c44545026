"""A row's logits have the same bits alone and in any company: other rows that may share its first
blocks, chunks of any size, one thread or two, and whatever lies in blocks that are not its own.

The families for which this holds are those of `CompiledForward`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tests.unit.engine.compiled_models import KINDS, probed, small
from tests.unit.engine.tiny import VOCABULARY
from worker.engine.attention.native import SIZE, Native
from worker.engine.kernels.library import Library
from worker.engine.kernels.packed import Kind
from worker.engine.model.compiled import CompiledForward
from worker.engine.model.llama import FAMILIES
from worker.engine.model.runner import Runner

COMPANY = (0, 2, 7, 8, 9, 48, 255)  # other rows in each step
SHARED = (0, 1, 5)  # blocks at the row's beginning that these have too
CHUNKS = (1, 15, 16, 17, 1024)  # tokens of the row in each step
CONTEXTS = (1, SIZE - 1, SIZE, SIZE + 1, 100)  # tokens; the last holds five blocks
LONG_CONTEXTS = (4097, 8191)
TAIL = 40  # last tokens of a long context whose logits are compared
NEIGHBOURS_BLOCKS = 64


@dataclass(frozen=True)
class Company:
    """What runs beside a row, and how the row itself is divided."""

    others: int = 0
    shared: int = 0
    chunk: int = 1024
    threads: int = 1
    seed: int = 0


SHARING = Company(others=9, shared=5, chunk=1)  # whose single tokens begin with the row's blocks


class World:
    """A model and a cache in which only the row's own blocks and its neighbours' hold numbers."""

    def __init__(self, model: Any, library: Library, kind: Kind, context: int):
        shapes = probed(model)
        self.tokens = [(7 * n * n + 3 * n + 1) % VOCABULARY for n in range(context)]
        self.own = 1 + context // SIZE  # blocks; the rest belongs to neighbours
        blocks = self.own + NEIGHBOURS_BLOCKS + 2
        self.backend = Native(shapes, blocks=blocks, library=library)
        forward = CompiledForward(model, shapes, library, kind)
        self.runner = Runner(forward, self.backend, blocks=blocks, rows=256)

    def logits(self, company: Company, context: int, kept: int, begin: int = 0) -> torch.Tensor:
        """The logits of the `kept` last tokens of the row, (kept, vocabulary). Its first `begin`
        tokens are computed without others, in chunks of 1,024."""
        chance = random.Random(company.seed)
        self._forget()
        # Not in order, so that a block's place cannot matter.
        own = chance.sample(range(self.own), self.own)
        others = [self._neighbour(own, company.shared, chance) for _ in range(company.others)]
        found, start = [], 0
        while start < context:
            alone = start < begin
            end = min(start + 1024, begin) if alone else min(start + company.chunk, context)
            beside = [] if alone else others
            place = chance.randint(0, len(beside))
            rows = [*beside[:place], (self.tokens[start:end], own, start), *beside[place:]]
            before = sum(len(new) for new, _, _ in beside[:place])
            wanted = [before + n - start for n in range(max(start, context - kept), end)]
            # The others' too: the last layer computes nothing of what is not wanted.
            after, total = before + end - start, sum(len(new) for new, _, _ in rows)
            logits = self.runner.logits(
                [new for new, _, _ in rows],
                [(blocks, first) for _, blocks, first in rows],
                [*wanted, *range(before), *range(after, total)],
            )
            found.append(logits[: len(wanted)])
            start = end
        return torch.cat(found)

    def _neighbour(
        self, own: list[int], shared: int, chance: random.Random
    ) -> tuple[list[int], list[int], int]:
        """New tokens, blocks and position of the first new token of another row."""
        shared = min(shared, len(own))
        some = chance.sample(range(self.own, self.own + NEIGHBOURS_BLOCKS), 8)
        start = SIZE * shared + chance.randrange(4 * SIZE)
        count = chance.choice((1, 1, 1, 1, 1, 1, 1, 5))
        return [chance.randrange(VOCABULARY) for _ in range(count)], own[:shared] + some, start

    def _forget(self) -> None:
        for layer, cache in self.backend.caches.items():
            torch.manual_seed(layer)
            cache.units.fill_(torch.nan)
            theirs = cache.units[self.own : self.own + NEIGHBOURS_BLOCKS]
            theirs.copy_(torch.randn(theirs.shape))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_equal_in_any_company(
    world: World, context: int, companies: list[Company], *, kept: int = 1024, begin: int = 0
) -> None:
    """For the last `kept` tokens of a row, whose tokens from `begin` on have company."""
    kept = min(kept, context)
    expected = world.logits(Company(), context, kept)
    assert expected.isfinite().all()
    assert len(expected.unique(dim=0)) > kept // 2, "all tokens get the same: it proves nothing"
    for company in companies:
        with threads(company.threads):
            found = world.logits(company, context, kept, begin)
        assert torch.equal(found, expected), (context, company)


def companies(count: int, seed: int, chunks: tuple[int, ...] = CHUNKS) -> list[Company]:
    """So many, by chance; the same in each run. All values of each setting come in turn."""
    chance = random.Random(seed)

    def column(values: tuple[int, ...]) -> list[int]:
        turns = -(-count // len(values))
        return chance.sample(values * turns, count)

    columns = (column(COMPANY), column(SHARED), column(chunks), column((1, 1, 2)))
    # Two threads wait for each other at each barrier, for long where others take their cores.
    return [
        Company(others, shared, chunk, 1 if chunk == 1 else two, seed)
        for others, shared, chunk, two in zip(*columns, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "group"), [(32, 1), (32, 3), (64, 1), (64, 3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rows_logits_are_the_same_in_any_company(
    family: str, width: int, group: int, kind: Kind, library: Library
) -> None:
    world = World(small(family, width=width, group=group), library, kind, CONTEXTS[-1])
    before = library.calls()
    for context in CONTEXTS:
        assert_equal_in_any_company(world, context, companies(3, seed=context))
    assert_equal_in_any_company(world, CONTEXTS[-1], [SHARING], begin=CONTEXTS[-1] - TAIL // 2)
    assert library.calls() > before


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokens_logits_are_the_same_whatever_else_is_wanted(kind: Kind, library: Library) -> None:
    world = World(small("llama", group=3), library, kind, CONTEXTS[-1])
    others = [
        ([7], [*range(5), world.own + n], 5 * SIZE + n) for n in range(9)
    ]  # share five blocks
    tokens = [world.tokens[:70], *(new for new, _, _ in others), world.tokens[70:]]
    rows = [
        (list(range(6)), 0),
        *(row[1:] for row in others),
        ([*range(5), world.own + 20, world.own + 21], 70),
    ]
    total = sum(map(len, tokens))
    with threads(1):
        expected = world.runner.logits(tokens, rows, range(total))
    assert len(expected.unique(dim=0)) > total // 2
    chance = random.Random(1)
    some = [chance.choices(range(total), k=count) for count in (1, 2, 9, 48, total, 2 * total)]
    for wanted in ([], [0], [69], [total - 1], [74, 70, 72], [78, 78], range(70, 79), *some):
        found = world.runner.logits(tokens, rows, list(wanted))
        assert torch.equal(found, expected[list(wanted)]), wanted


def test_merging_parts_that_were_computed_apart_would_show(merging: Library) -> None:
    world = World(small("llama", group=3), merging, "bf16", CONTEXTS[-1])
    with pytest.raises(AssertionError):
        assert_equal_in_any_company(world, CONTEXTS[-1], [SHARING], begin=CONTEXTS[-1] - TAIL // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_company_with_every_sharing_and_chunk(kind: Kind, library: Library) -> None:
    world = World(small("llama", group=3, num_hidden_layers=1), library, kind, CONTEXTS[-1])
    every = [
        Company(others, shared, chunk, 1 + ((others + shared + chunk) % 5 == 0))
        for others in COMPANY
        for shared in SHARED
        for chunk in CHUNKS
    ]
    assert_equal_in_any_company(world, CONTEXTS[-1], every, begin=CONTEXTS[-1] - TAIL // 2)


@pytest.mark.parametrize("context", LONG_CONTEXTS)
@pytest.mark.parametrize("family", ["llama", "mistral"])  # without windows and with
def test_a_long_rows_logits_are_the_same_in_any_company(
    family: str, context: int, library: Library
) -> None:
    changes = {"num_hidden_layers": 1, "max_position_embeddings": 16384, "hidden_size": 64}
    if family == "mistral":
        changes["sliding_window"] = 1000
    world = World(small(family, group=2, heads=1, **changes), library, "bf16", context)
    assert_equal_in_any_company(
        world, context, companies(7, seed=context), kept=TAIL, begin=context - TAIL
    )
    whole = [Company(others=7, shared=5, chunk=chunk, seed=chunk) for chunk in (17, 1024)]
    assert_equal_in_any_company(world, context, whole, kept=TAIL)
