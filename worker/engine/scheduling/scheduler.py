"""Decides which tokens of which rows the next step computes. Knows no tensors, clocks or text.

Rows are ordered by seniority: interactive ones (a client waits for them) first, then all others,
each kind by age. A step has a budget of tokens:

- Every decoding row gets its one token.
- Interactive prompts get half of the rest, and what the other prompts leave of the other half.
- Other prompts get the whole rest; but only half of it in a step with an interactive prompt, so
  that the step is short.

Interactive rows are admitted before the shares are worked out, other rows afterwards, while there
are slots and blocks. When blocks run out, the most junior running row is preempted: it gives its
blocks back and computes them again later. The most senior row always advances, so every row ends.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace

from worker.engine.scheduling.blocks import START, BlockPool
from worker.engine.scheduling.scoring import Scoring
from worker.engine.scheduling.sequence import Sequence

# Tokens per step of a text whose log-probabilities are wanted: each needs a row of logits.
SCORED_TOKENS = 256


@dataclass(slots=True)
class Chunk:
    """`count` tokens of a sequence from `start` on, to be computed in this step."""

    sequence: Sequence
    start: int
    count: int
    # A text that is scored in blocks which it has for this step only. The block in which it begins
    # is a copy of another, if something precedes it there.
    is_branch: bool = False
    copied: int | None = None

    @property
    def samples(self) -> bool:
        """Whether the step ends with this sequence's next token."""
        sequence = self.sequence
        return sequence.scoring is None and self.start + self.count == len(sequence.tokens)


class Scheduler:
    """Plans the steps of at most `slots` running sequences, each step with at most `token_budget`
    tokens."""

    def __init__(self, pool: BlockPool, *, slots: int, token_budget: int):
        self.pool = pool
        self.slots = slots
        self.token_budget = token_budget
        self.waiting: list[Sequence] = []  # by seniority, like `running`
        self.running: list[Sequence] = []
        self.preemptions = 0

    def add(self, sequence: Sequence) -> None:
        """Let a new sequence wait for its turn."""
        insort(self.waiting, sequence, key=_seniority)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that ended; its blocks are free from now on."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            self.waiting.remove(sequence)

    def plan(self) -> list[Chunk]:
        """The next step's work; empty only if there is no sequence at all."""
        while len(self.running) < self.slots and self._admit(interactive=True):
            pass
        shares = self._shares()
        chunks: list[Chunk] = []
        at = 0
        # Making room preempts the last rows, which this loop has not reached yet.
        while at < len(self.running):
            sequence = self.running[at]
            at += 1
            count = shares[sequence]
            if count and self._make_room(sequence, sequence.computed + count):
                chunks.append(self._chunk(sequence, count))
        budget = self.token_budget - sum(chunk.count for chunk in chunks)
        if any(chunk.count > 1 and chunk.sequence.request.interactive for chunk in chunks):
            budget = 0  # a client waits for this step
        while (
            budget > 0
            and len(self.running) < self.slots
            and (admitted := self._admit(interactive=False))
        ):
            count = min(_wanted(admitted), budget)
            self._make_room(admitted, admitted.computed + count)
            chunks.append(self._chunk(admitted, count))
            budget -= count
        return chunks + self._branches(chunks)

    def done(self, chunks: list[Chunk]) -> None:
        """The step was computed."""
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
            if chunk.is_branch:
                self.pool.give_back(chunk.sequence.blocks)

    def go_back(self, sequence: Sequence, computed: int, tokens: list[int]) -> None:
        """Let a sequence that is running go on with other tokens behind the first `computed`."""
        sequence.computed, sequence.tokens = computed, tokens
        needed = self.pool.blocks_for(len(tokens))
        self.pool.give_back(sequence.blocks[needed:])
        del sequence.blocks[needed:]

    def undo(self, chunks: list[Chunk]) -> list[Chunk]:
        """The step failed, and the blocks that it was to write may hold anything.

        Empties the prefix cache. Rows that were to read what another row of the step was to write
        wait again. Returns the other chunks; they can be computed in any order and combination.
        """
        self.pool.forget_all()
        for chunk in chunks:
            if chunk.is_branch:
                self.pool.give_back(chunk.sequence.blocks)
        chunks = [chunk for chunk in chunks if not chunk.is_branch]
        first = {id(chunk): chunk.start // self.pool.size for chunk in chunks}
        written = {block for chunk in chunks for block in chunk.sequence.blocks[first[id(chunk)] :]}
        left = []
        for chunk in chunks:
            if written.isdisjoint(chunk.sequence.blocks[: first[id(chunk)]]):
                left.append(chunk)
            else:
                self._preempt(chunk.sequence)
        return left

    def _shares(self) -> dict[Sequence, int]:
        """How many tokens each of the running rows may compute in this step."""
        wanted = {sequence: _wanted(sequence) for sequence in self.running}
        # The most senior row is served even if the budget is smaller than the number of rows.
        served = [
            sequence
            for sequence in self.running
            if wanted[sequence] == 1 or sequence is self.running[0]
        ]
        shares = dict.fromkeys(self.running, 0) | dict.fromkeys(served[: self.token_budget], 1)
        left = self.token_budget - min(len(served), self.token_budget)
        prompts = [
            sequence for sequence in self.running if left and wanted[sequence] > shares[sequence]
        ]
        urgent = [sequence for sequence in prompts if sequence.request.interactive]
        others = [sequence for sequence in prompts if not sequence.request.interactive]
        kept = min(left // 2, sum(wanted[sequence] - shares[sequence] for sequence in others))
        for group, limit in ((urgent, left - kept), (others, left // 2 if urgent else left)):
            for sequence in group:
                more = min(wanted[sequence] - shares[sequence], limit, left)
                shares[sequence] += more
                limit -= more
                left -= more
        return shares

    def _admit(self, *, interactive: bool) -> Sequence | None:
        """Let the most senior waiting sequence that fits run, with the blocks that the prefix cache
        has of it."""
        for sequence in self.waiting:
            if sequence.request.interactive != interactive:
                continue
            found: list[int] = []
            chain = START
            if sequence.shares_prefix:
                found, chain = self.pool.find(sequence.tokens, sequence.findable // self.pool.size)
                if self._prefix_is_coming(sequence, len(found)):
                    continue
            if not self._has_room(sequence, found):
                return None
            self.pool.hold(found)
            sequence.blocks = found
            sequence.filed, sequence.chain = len(found), chain
            sequence.computed = len(found) * self.pool.size
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=_seniority)
            return sequence
        return None

    def _has_room(self, sequence: Sequence, found: list[int]) -> bool:
        """Whether a waiting sequence can be admitted. For an interactive one, the most junior rows
        that are not interactive are preempted."""
        self.pool.hold(found)  # so that preempting others does not free them
        try:
            while self.running:
                # One block for each running row as well, or the next step would preempt one.
                needed = (
                    self.pool.blocks_for(len(sequence.tokens) + 1) - len(found) + len(self.running)
                )
                if needed <= self.pool.free:
                    return True
                if not sequence.request.interactive or self.running[-1].request.interactive:
                    return False
                self._preempt(self.running[-1])
            return True
        finally:
            self.pool.give_back(found)

    def _prefix_is_coming(self, sequence: Sequence, found: int) -> bool:
        """Whether a running row will compute this prompt's next full block soon: waiting for it is
        cheaper than computing it twice."""
        end = (found + 1) * self.pool.size
        if end > sequence.findable:
            return False
        return any(
            other.filed <= found
            and end <= other.lasting
            and other.tokens[:end] == sequence.tokens[:end]
            for other in self.running
        )

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        """Put the blocks that this chunk fills into the prefix cache. In a step every layer writes
        before it reads, so rows of the same step may share them already."""
        chunk = Chunk(sequence, sequence.computed, count)
        size, filling = self.pool.size, min(chunk.start + count, sequence.lasting)
        while (sequence.filed + 1) * size <= filling:
            at = sequence.filed * size
            tokens = tuple(sequence.tokens[at : at + size])
            sequence.chain = self.pool.file(sequence.blocks[sequence.filed], sequence.chain, tokens)
            sequence.filed += 1
        return chunk

    def _branches(self, chunks: list[Chunk]) -> list[Chunk]:
        """Further texts of the rows that are scored, in slots that are idle in this step."""
        found: list[Chunk] = []
        left = min(SCORED_TOKENS, self.token_budget - sum(chunk.count for chunk in chunks))
        for chunk in chunks:
            if chunk.sequence.scoring is None or chunk.start < chunk.sequence.lasting:
                continue
            for scoring in chunk.sequence.scoring.branches():
                if len(chunks) + len(found) >= self.slots:
                    return found
                branch = self._branch(chunk, scoring, left)
                if branch is None:
                    break
                found.append(branch)
                left -= branch.count
        return found

    def _branch(self, chunk: Chunk, scoring: Scoring, most: int) -> Chunk | None:
        """A text of the row of `chunk`, in blocks of its own from where it differs from what the
        row has computed before this step; None if it takes more than `most` tokens, or too many
        blocks."""
        row, size = chunk.sequence, self.pool.size
        tokens = [*row.request.prompt_ids, *scoring.tokens]
        start = min(scoring.first, chunk.start, scoring.alike(row.tokens))
        needed = self.pool.blocks_for(len(tokens)) - start // size
        if len(tokens) - start > most or needed > self.pool.free - len(self.running):
            return None
        shared = row.blocks[: start // size]
        self.pool.hold(shared)
        blocks = shared + [self.pool.take() for _ in range(needed)]
        branch = replace(row, tokens=tokens, blocks=blocks, computed=start, scoring=scoring)
        copied = row.blocks[start // size] if start % size else None
        return Chunk(branch, start, len(tokens) - start, True, copied)

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Give the sequence blocks for its first `tokens` tokens; False if it was preempted itself
        for that."""
        missing = self.pool.blocks_for(tokens) - len(sequence.blocks)
        while missing > self.pool.free:
            junior = self.running[-1]
            self._preempt(junior)
            if junior is sequence:
                return False
        sequence.blocks.extend(self.pool.take() for _ in range(missing))
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._release(sequence)
        insort(self.waiting, sequence, key=_seniority)
        self.preemptions += 1

    def _release(self, sequence: Sequence) -> None:
        self.pool.give_back(sequence.blocks)
        sequence.blocks = []
        sequence.computed = sequence.filed = 0
        sequence.chain = START


def _wanted(sequence: Sequence) -> int:
    """Tokens that it could compute now: one while it decodes, before that what is left of its
    prompt."""
    lacking = len(sequence.tokens) - sequence.computed
    if sequence.scored_from is None:
        return lacking
    return min(lacking, max(0, sequence.scored_from - sequence.computed) + SCORED_TOKENS)


def _seniority(sequence: Sequence) -> tuple[bool, int]:
    return sequence.seniority
