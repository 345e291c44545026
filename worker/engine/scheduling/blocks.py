"""Which sequences hold which block of keys and values: reference counts, a free list, and a prefix
cache over full blocks.

A full block is filed under (the chain of everything before it, its own tokens). So equal prefixes
find the same blocks, and tokens are compared, not hashes alone. Blocks without a holder keep their
contents until they are taken again, the oldest first.
"""

from __future__ import annotations

from collections import OrderedDict

START = 0  # the chain of an empty prefix


class BlockPool:
    """`count` blocks of `size` tokens each."""

    def __init__(self, count: int, size: int):
        self.count = count
        self.size = size  # tokens per block
        self._holders = [0] * count
        self._blank = list(range(count - 1, -1, -1))  # free and without contents worth keeping
        self._idle: OrderedDict[int, None] = OrderedDict()  # free, but filed; oldest first
        # -> (block, chain that includes it)
        self._filed: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}
        self._label: dict[int, tuple[int, tuple[int, ...]]] = {}  # block -> its key in `_filed`
        self._next_chain = START + 1

    @property
    def free(self) -> int:
        """Blocks that nothing holds, filed ones included."""
        return len(self._blank) + len(self._idle)

    def blocks_for(self, tokens: int) -> int:
        """How many blocks hold so many tokens."""
        return -(-tokens // self.size)

    def take(self) -> int:
        """A block with one holder. The caller has made sure that one is free."""
        if self._blank:
            block = self._blank.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        self._holders[block] = 1
        return block

    def give_back(self, blocks: list[int]) -> None:
        """Remove one holder from each."""
        # In reverse order, so that the end of a prefix is reused before its beginning: without the
        # beginning the rest could not be found.
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block] == 0:
                if block in self._label:
                    self._idle[block] = None
                else:
                    self._blank.append(block)

    def find(self, tokens: list[int], limit: int) -> tuple[list[int], int]:
        """The filed blocks that hold the longest prefix of `tokens`, at most `limit` of them, and
        its chain."""
        blocks: list[int] = []
        chain = START
        while len(blocks) < limit:
            at = len(blocks) * self.size
            found = self._filed.get((chain, tuple(tokens[at : at + self.size])))
            if found is None:
                break
            block, chain = found
            blocks.append(block)
        return blocks, chain

    def hold(self, blocks: list[int]) -> None:
        """Add a holder to each; idle blocks are in use again."""
        for block in blocks:
            if self._holders[block] == 0:
                del self._idle[block]
            self._holders[block] += 1

    def file(self, block: int, chain: int, tokens: tuple[int, ...]) -> int:
        """Put a full block into the prefix cache; returns the chain that includes it. If an equal
        block is there already, that one stays."""
        found = self._filed.get((chain, tokens))
        if found is not None:
            return found[1]
        grown, self._next_chain = self._next_chain, self._next_chain + 1
        self._filed[chain, tokens] = (block, grown)
        self._label[block] = (chain, tokens)
        return grown

    def forget_all(self) -> None:
        """Empty the prefix cache, as after a failed step, when blocks may hold anything."""
        self._filed.clear()
        self._label.clear()
        self._blank.extend(self._idle)
        self._idle.clear()

    def _forget(self, block: int) -> None:
        key = self._label.pop(block)
        del self._filed[key]
