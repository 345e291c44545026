"""Texts whose queries, keys and values are drawn once, and a layer's compiled attention over them:
for tests that compute the same tokens in several ways."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from worker.engine.attention.backend import How, LayerShape, lay_out
from worker.engine.attention.native import SIZE, Native
from worker.engine.kernels.library import Library

CPU = torch.device("cpu")


@dataclass
class Text:
    """The queries, keys and values of a text's tokens, and the blocks that it may use."""

    query: torch.Tensor  # (tokens, query heads, width)
    key: torch.Tensor  # (tokens, heads, width)
    value: torch.Tensor  # (tokens, heads, width)
    blocks: list[int] = field(default_factory=list)

    def expected(self, positions: list[int], how: How) -> tuple[torch.Tensor, torch.Tensor]:
        """What the tokens there are to see, in float64, and the sum of its terms' magnitudes."""
        group = self.query.shape[1] // self.key.shape[1]
        query = self.query[positions].double().transpose(0, 1)
        key, value = (
            each.double().transpose(0, 1).repeat_interleave(group, 0)
            for each in (self.key, self.value)
        )
        distance = torch.tensor(positions)[:, None] - torch.arange(len(self.key))
        hidden = (distance < 0) | (distance >= (how.window or len(self.key)))
        scores = (query @ key.transpose(1, 2) * how.scale).masked_fill(hidden, -torch.inf)
        weights = scores.softmax(-1)
        return (weights @ value).transpose(0, 1), (weights @ value.abs()).transpose(0, 1)


class Layer:
    """One layer over `blocks` blocks; what is not stored yet is NaN."""

    def __init__(
        self,
        library: Library,
        *,
        heads: int = 2,
        group: int = 3,
        width: int = 64,
        window: int | None = None,
        blocks: int = 600,
        seed: int = 1,
    ):
        self.how = How(1.5 * width**-0.5, window)
        self.native = Native({0: LayerShape(heads, width, width)}, blocks=blocks, library=library)
        self.units = self.native.caches[0].units
        self.units.fill_(torch.nan)
        self._sizes = heads, group, width
        self._random = torch.Generator().manual_seed(seed)
        self._free = torch.randperm(blocks, generator=self._random).tolist()

    def text(self, tokens: int, shared: list[int] | None = None) -> Text:
        """A new text; its first blocks are `shared`, the others its own."""
        heads, group, width = self._sizes
        query, key, value = (
            torch.randn(tokens, count, width, generator=self._random).bfloat16()
            for count in (heads * group, heads, heads)
        )
        made = Text(query, key, value)
        self.place(made, shared)
        return made

    def place(self, text: Text, shared: list[int] | None = None) -> None:
        """Give it other blocks."""
        text.blocks = list(shared or [])
        while len(text.blocks) * SIZE < len(text.key):
            text.blocks.append(self._free.pop())

    def give_back(self, texts: list[Text]) -> None:
        self._free += {block for text in texts for block in text.blocks}
        for text in texts:
            text.blocks = []

    def step(self, rows: list[tuple[Text, int, int]]) -> list[torch.Tensor]:
        """Compute (text, first token, how many) together; returns what each row's tokens see."""
        counts = [count for *_, count in rows]
        step = lay_out(
            [[0] * count for count in counts],
            [(text.blocks[: -(-(start + count) // SIZE)], start) for text, start, count in rows],
            [],
            size=SIZE,
            device=CPU,
        )
        query, key, value = (
            torch.cat([getattr(text, name)[start : start + count] for text, start, count in rows])
            for name in ("query", "key", "value")
        )
        found = self.native.begin(step).attend(0, query, key, value, self.how)
        return list(found.split(counts))

    def chunks(self, text: Text, size: int, end: int | None = None) -> torch.Tensor:
        """Compute a text alone, in chunks of `size`; returns what all tokens see."""
        end = len(text.key) if end is None else end
        return torch.cat(
            [self.step([(text, at, min(size, end - at))])[0] for at in range(0, end, size)]
        )

    def forget(self, block: int, first: int = 0) -> None:
        """Make NaN of a block's positions from `first` on."""
        heads, _, width = self._sizes
        keys, values = self.units[block].split(SIZE * width, dim=1)
        keys.view(heads, width // 2, SIZE, 2)[:, :, first:] = torch.nan
        positions = values.view(heads, SIZE // 2, width, 2).transpose(2, 3)
        positions.flatten(1, 2)[:, first:] = torch.nan
