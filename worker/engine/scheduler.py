"""Who computes what in the next step. Pure policy: no tensors, no clocks, no text.

Sequences run oldest first, each with as many tokens as it lacks (one while decoding, a chunk of the prompt before)
until the step's token budget is spent; then waiting ones are admitted while slots and KV blocks last. When blocks run
out the youngest runner is preempted: it gives its blocks back and computes them again later. The oldest always
advances, so everybody ends.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from .blocks import START, BlockPool
from .sequence import Sequence


@dataclass(slots=True)
class Chunk:
    """`count` tokens of a sequence from `start` on, to be computed in this step."""

    sequence: Sequence
    start: int
    count: int

    @property
    def samples(self) -> bool:
        """Whether the step ends with this sequence's next token."""
        return self.start + self.count == len(self.sequence.tokens)


class Scheduler:
    def __init__(self, pool: BlockPool, *, slots: int, token_budget: int):
        self.pool = pool
        self.slots = slots
        self.token_budget = token_budget
        self.waiting: list[Sequence] = []  # by arrival, like `running`
        self.running: list[Sequence] = []
        self.preemptions = 0

    def add(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=_arrival)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that ended; its blocks are free from now on."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            self.waiting.remove(sequence)

    def plan(self) -> list[Chunk]:
        """The next step's work; empty only if there is no sequence at all."""
        chunks: list[Chunk] = []
        budget = self.token_budget
        for sequence in list(self.running):
            if budget == 0:
                break
            count = min(len(sequence.tokens) - sequence.computed, budget)
            # Whoever is preempted to make room is younger, so it comes later in this loop and holds no blocks by then.
            if sequence.blocks and self._make_room(sequence, sequence.computed + count):
                chunks.append(self._chunk(sequence, count))
                budget -= count
        while budget > 0 and len(self.running) < self.slots:
            admitted = self._next_admitted()
            if admitted is None:
                break
            sequence = admitted
            count = min(len(sequence.tokens) - sequence.computed, budget)
            self._make_room(sequence, sequence.computed + count)
            chunks.append(self._chunk(sequence, count))
            budget -= count
        return chunks

    def done(self, chunks: list[Chunk]) -> None:
        """The step was computed."""
        for chunk in chunks:
            chunk.sequence.computed += chunk.count

    def _next_admitted(self) -> Sequence | None:
        """Move the oldest waiting sequence that fits into the running ones, with what the prefix cache has of it."""
        for sequence in self.waiting:
            found: list[int] = []
            chain = START
            if sequence.shares_prefix:
                # At least the last token is computed, or there would be no logits to sample from.
                found, chain = self.pool.find(sequence.tokens, (len(sequence.tokens) - 1) // self.pool.size)
                if self._prefix_is_coming(sequence, len(found)):
                    continue
            # One block each for those who run already, so that an admission does not preempt at once.
            needed = self.pool.blocks_for(len(sequence.tokens) + 1) - len(found) + len(self.running)
            if needed > self.pool.free - self.pool.idle_among(found) and self.running:
                return None
            self.pool.hold(found)
            sequence.blocks = found
            sequence.filed, sequence.chain = len(found), chain
            sequence.computed = len(found) * self.pool.size
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=_arrival)
            return sequence
        return None

    def _prefix_is_coming(self, sequence: Sequence, found: int) -> bool:
        """Whether a runner is about to compute this prompt's next full block: waiting is cheaper than doing it too."""
        end = (found + 1) * self.pool.size
        if end >= len(sequence.tokens):
            return False
        return any(
            other.filed <= found and end <= len(other.tokens) and other.tokens[:end] == sequence.tokens[:end]
            for other in self.running
        )

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        """File the blocks that this chunk fills. Within a step every layer writes before it reads, so that rows of the
        very same step may share them already."""
        chunk = Chunk(sequence, sequence.computed, count)
        size = self.pool.size
        while (sequence.filed + 1) * size <= chunk.start + count:
            at = sequence.filed * size
            tokens = tuple(sequence.tokens[at : at + size])
            sequence.chain = self.pool.file(sequence.blocks[sequence.filed], sequence.chain, tokens)
            sequence.filed += 1
        return chunk

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Give the sequence blocks for its first `tokens` tokens; False if it had to give way itself."""
        missing = self.pool.blocks_for(tokens) - len(sequence.blocks)
        while missing > self.pool.free:
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.blocks.extend(self.pool.take() for _ in range(missing))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        insort(self.waiting, sequence, key=_arrival)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.pool.give_back(sequence.blocks)
        sequence.blocks = []
        sequence.computed = sequence.filed = 0
        sequence.chain = START


def _arrival(sequence: Sequence) -> int:
    return sequence.arrival
