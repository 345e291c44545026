"""What holds for scheduling, by random walks: no model, no tensors."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from common.generation import Request
from common.params import SamplingParams
from tests.unit.engine.tiny import Letters
from worker.engine.sampling.edits import Edits
from worker.engine.scheduling.blocks import BlockPool
from worker.engine.scheduling.drawn import Scores
from worker.engine.scheduling.scheduler import Chunk, Scheduler
from worker.engine.scheduling.scoring import Scoring
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Text


def sequence(
    arrival: int, ids: list[int], max_tokens: int, *, interactive: bool = False
) -> Sequence:
    params = SamplingParams(max_tokens=max_tokens)
    request = Request(str(arrival), "", ids, params, 0, interactive=interactive)
    return Sequence(
        request, 0, arrival, list(ids), Text(Letters(), ()), Edits(params, ids, frozenset(), [])
    )


def scored(arrival: int, ids: list[int], texts: list[list[int]]) -> Sequence:
    """A sequence of which these texts are scored."""
    found = sequence(arrival, ids, 1)
    found.scoring = Scoring(texts, len(ids))
    found.tokens += found.scoring.tokens
    return found


def rewrite(contents: dict[int, tuple[int, ...]], running: list[Sequence], size: int) -> None:
    """Of a block that a failed step wrote into, what was computed before is still there."""
    for each in running:
        for at, block in enumerate(each.blocks):
            end = min((at + 1) * size, each.computed)
            if end > at * size and contents[block] == (-1,):
                contents[block] = tuple(each.tokens[:end])


def check(scheduler: Scheduler, chunks: Iterable[Chunk] = ()) -> None:
    """What holds between steps; `chunks` are planned."""
    pool = scheduler.pool
    held = [block for each in scheduler.running for block in each.blocks]
    held += [block for each in chunks if each.is_branch for block in each.sequence.blocks]
    assert len(set(held)) + pool.free == pool.count, "a block is lost, or free and held at once"
    assert len(scheduler.running) <= scheduler.slots
    assert not any(each.blocks for each in scheduler.waiting)
    for each in scheduler.running:
        assert each.computed <= len(each.blocks) * pool.size


class Walk:
    """A scheduler under random requests, failures and cancellations, and what its blocks hold."""

    def __init__(self, seed: int):
        rng = self.rng = random.Random(seed)
        self.size, self.count = rng.choice([1, 4, 8]), rng.randint(12, 40)
        self.scheduler = Scheduler(
            BlockPool(self.count, self.size),
            slots=rng.randint(1, 8),
            token_budget=rng.randint(1, 64),
        )
        self.capacity = self.size * self.count
        self.shared = [rng.randrange(3) for _ in range(self.capacity // 2)]
        # Block -> every token up to and including what it holds.
        self.contents: dict[int, tuple[int, ...]] = {}
        self.left = 60  # requests to come
        self.open_now: set[int] = set()
        self.branches = 0  # so far

    def arrive(self) -> None:
        rng = self.rng
        while self.left and rng.random() < 0.5:
            self.left -= 1
            length = rng.randint(1, self.capacity // 2)
            prefix = self.shared[: rng.randint(0, length)]
            ids = [*prefix, *[rng.randrange(3) for _ in range(length)]][:length]
            most = rng.randint(1, self.capacity - length)
            interactive = rng.random() < 0.2
            if rng.random() < 0.3:
                texts = [
                    [rng.randrange(3) for _ in range(rng.randint(1, most))]
                    for _ in range(rng.randint(1, 6))
                ]
                self.scheduler.add(scored(self.left * -1, ids, texts))
            else:
                self.scheduler.add(sequence(self.left * -1, ids, most, interactive=interactive))
            self.open_now.add(self.left * -1)

    def plan(self) -> list[Chunk]:
        scheduler = self.scheduler
        chunks = scheduler.plan()
        assert chunks or not self.open_now
        assert sum(chunk.count for chunk in chunks) <= scheduler.token_budget
        rows = [chunk for chunk in chunks if not chunk.is_branch]
        assert len({chunk.sequence.arrival for chunk in rows}) == len(rows)
        assert len(rows) == len(chunks) or len(chunks) <= scheduler.slots
        self.branches += len(chunks) - len(rows)
        if scheduler.running:
            senior = min(scheduler.running, key=lambda each: each.seniority)
            assert any(chunk.sequence is senior for chunk in chunks), "the most senior must advance"
        check(scheduler, chunks)
        return chunks

    def fail(self, chunks: list[Chunk]) -> list[Chunk]:
        """The step fails: what it was to write is lost, and some rows are computed after all."""
        for chunk in chunks:
            for block in chunk.sequence.blocks[chunk.start // self.size :]:
                self.contents[block] = (-1,)
        kept = {id(each) for each in chunks}
        chunks = [chunk for chunk in self.scheduler.undo(chunks) if self.rng.random() < 0.5]
        assert {id(each) for each in chunks} <= kept
        check(self.scheduler)
        rewrite(self.contents, self.scheduler.running, self.size)
        return chunks

    def compute(self, chunks: list[Chunk]) -> None:
        """All rows write, then all rows read: as in a layer."""
        for chunk in chunks:
            if chunk.copied is not None:
                new = chunk.sequence.blocks[chunk.start // self.size]
                self.contents[new] = self.contents[chunk.copied][: chunk.start]
        for chunk in chunks:
            for at in range(chunk.start, chunk.start + chunk.count):
                block = chunk.sequence.blocks[at // self.size]
                self.contents[block] = tuple(chunk.sequence.tokens[: at + 1])
        for chunk in chunks:
            for at, block in enumerate(chunk.sequence.blocks):
                end = min((at + 1) * self.size, chunk.start + chunk.count)
                if end > at * self.size:
                    held = self.contents[block]
                    assert held[:end] == tuple(chunk.sequence.tokens[:end]), (
                        "a row reads what is not its own prefix"
                    )
        self.scheduler.done(chunks)

    def advance(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if chunk.sequence.scoring:
                self.score(chunk, chunk.sequence.scoring)
        for chunk in chunks:
            if chunk.is_branch:
                continue
            if chunk.sequence.scoring:
                self.go_on(chunk.sequence, chunk.sequence.scoring)
                continue
            if chunk.start + chunk.count != len(chunk.sequence.tokens):
                continue
            chunk.sequence.tokens.append(self.rng.randrange(3))
            if chunk.sequence.generated >= chunk.sequence.request.params.max_tokens:
                self.remove(chunk.sequence)

    def score(self, chunk: Chunk, scoring: Scoring) -> None:
        for position in range(max(chunk.start, scoring.first), chunk.start + chunk.count):
            wanted = scoring.wanted(position)
            scoring.take(position, Scores(wanted, [0.0] * len(wanted), []))

    def go_on(self, each: Sequence, scoring: Scoring) -> None:
        if each.computed < len(each.tokens):
            return
        stay = scoring.go_on()
        if stay is not None:
            self.scheduler.go_back(each, stay, [*each.request.prompt_ids, *scoring.tokens])
            return
        for path, scores in zip(scoring.paths, scoring.scores, strict=True):
            assert [score and score.token for score in scores] == path
        self.remove(each)

    def cancel(self) -> None:
        everybody = self.scheduler.running + self.scheduler.waiting
        if everybody:
            self.remove(self.rng.choice(everybody))

    def remove(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        self.open_now.remove(sequence.arrival)


@pytest.mark.parametrize("seed", range(40))
def test_random_walk_everybody_ends_once_and_nobody_reads_anothers_blocks(seed: int) -> None:
    walk = Walk(seed)
    steps = 0
    while walk.left or walk.open_now:
        steps += 1
        assert steps < 20_000, "somebody starves"
        walk.arrive()
        chunks = walk.plan()
        if walk.rng.random() < 0.1:
            chunks = walk.fail(chunks)
        walk.compute(chunks)
        walk.advance(chunks)
        if walk.rng.random() < 0.05:
            walk.cancel()
        check(walk.scheduler)
    assert walk.scheduler.pool.free == walk.count


def test_blocks_nobody_holds_keep_their_contents_until_needed() -> None:
    pool = BlockPool(4, 2)
    first, second = pool.take(), pool.take()
    chain = pool.file(first, 0, (1, 2))
    pool.file(second, chain, (3, 4))
    pool.give_back([first, second])
    assert pool.free == 4 and pool.find([1, 2, 3, 4, 5], 2)[0] == [first, second]
    for _ in range(3):
        pool.take()
    assert pool.find([1, 2, 3, 4, 5], 2)[0] == [first], "the end of a prefix goes first"


def test_equal_tokens_after_different_prefixes_are_different_blocks() -> None:
    pool = BlockPool(4, 2)
    one, other, last = pool.take(), pool.take(), pool.take()
    pool.file(other, 0, (9, 9))
    pool.file(last, pool.file(one, 0, (1, 2)), (5, 5))
    assert pool.find([9, 9, 5, 5], 2)[0] == [other]


def steps_until_first_token(scheduler: Scheduler, asked: Sequence) -> int:
    scheduler.add(asked)
    for step in range(1, 1000):
        chunks = scheduler.plan()
        scheduler.done(chunks)
        for chunk in chunks:
            if chunk.samples:
                if chunk.sequence is asked:
                    return step
                chunk.sequence.tokens.append(5)
    raise AssertionError("it starves")


def test_an_interactive_row_starts_beside_long_prompts_as_soon_as_alone() -> None:
    def scheduler(blocks: int) -> Scheduler:
        return Scheduler(BlockPool(blocks, 16), slots=32, token_budget=1024)

    def chat(arrival: int, length: int = 400) -> Sequence:
        return sequence(arrival, [7] * length, 100, interactive=True)

    for blocks in (4096, 300):  # room for all of them; room for one of them and little more
        alone = steps_until_first_token(scheduler(blocks), chat(0))
        beside = scheduler(blocks)
        for arrival in range(6):
            beside.add(sequence(arrival, list(range(arrival, 4000 + arrival)), 100))
        for _ in range(2):
            beside.done(beside.plan())
        assert steps_until_first_token(beside, chat(10)) <= alone + 1


def test_long_interactive_prompts_leave_others_half_of_each_step() -> None:
    scheduler = Scheduler(BlockPool(4096, 16), slots=32, token_budget=1000)
    scheduler.add(sequence(0, list(range(3000)), 10))
    scheduler.add(sequence(1, list(range(1, 3000)), 10, interactive=True))
    counts = {chunk.sequence.arrival: chunk.count for chunk in scheduler.plan()}
    assert counts[1] == 1000  # it was admitted alone: the other one was not running yet
    scheduler = Scheduler(BlockPool(4096, 16), slots=32, token_budget=1000)
    scheduler.add(sequence(0, list(range(3000)), 10))
    scheduler.done(scheduler.plan())
    scheduler.add(sequence(1, list(range(1, 3000)), 10, interactive=True))
    counts = {chunk.sequence.arrival: chunk.count for chunk in scheduler.plan()}
    assert abs(counts[0] - counts[1]) <= 2 and sum(counts.values()) == 1000


def test_decoding_rows_advance_in_every_step_beside_a_long_prompt() -> None:
    scheduler = Scheduler(BlockPool(4096, 16), slots=32, token_budget=64)
    scheduler.add(sequence(0, list(range(1000)), 10))
    decoding = [sequence(arrival, [arrival] * 3, 50) for arrival in range(1, 9)]
    for each in decoding:
        each.request.interactive = True  # they start at once
        scheduler.add(each)
    for _ in range(12):
        chunks = scheduler.plan()
        scheduler.done(chunks)
        for chunk in chunks:
            if chunk.samples:
                chunk.sequence.tokens.append(5)
    assert all(each.generated >= 10 for each in decoding)


def test_a_step_with_an_interactive_prompt_is_half_as_long() -> None:
    scheduler = Scheduler(BlockPool(4096, 16), slots=32, token_budget=1000)
    for arrival in range(4):
        scheduler.add(sequence(arrival, list(range(arrival, 3000 + arrival)), 10))
    assert sum(chunk.count for chunk in scheduler.plan()) == 1000
    scheduler.add(sequence(9, [7] * 20, 10, interactive=True))
    counts = {chunk.sequence.arrival: chunk.count for chunk in scheduler.plan()}
    assert counts.pop(9) == 20 and 400 <= sum(counts.values()) <= 500
