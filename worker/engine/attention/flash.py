"""Decoding on CUDA: torch's paged attention kernel, and decode steps recorded once and replayed as
CUDA graphs.

The cache is in pages `[page, position, head, width]`, which `varlen_attn` reads through a block
table: one call a layer for all rows of a step, prefill chunks and decode rows alike. Models it
cannot serve (soft caps, attention sinks, uneven widths, float32) take `runner.Runner`. The kernel
is compared with plain arithmetic before it is trusted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn

from worker.engine.attention.gather import LayerShape
from worker.engine.attention.hook import attending
from worker.engine.model.runner import Forward

log = logging.getLogger(__name__)

# Tokens; the kernel takes multiples of it, and is reported to go wrong when it splits what it
# reads.
PAGE = 256
DTYPES = (torch.bfloat16, torch.float16)
TOLERANCE = 2e-2  # of bfloat16 outputs of size 1
MOST_RECORDED = 512  # rows; larger steps launch their kernels one by one, which they hide


@dataclass
class Step:
    """What a step's rows are, on the device. Rows without a sequence read one position of the
    scratch page."""

    ids: torch.Tensor  # (tokens,)
    positions: torch.Tensor  # (tokens,)
    slots: torch.Tensor  # (tokens,) page * PAGE + offset, where each token's key goes
    starts: torch.Tensor  # (rows + 1,) int32: where each row's tokens begin
    used: torch.Tensor  # (rows,) int32: keys each row may see, this step's included
    table: torch.Tensor  # (rows, most pages) int32
    keep: torch.Tensor  # (wanted,) tokens whose logits are wanted


class Pages:
    """The keys and values of all layers, and the step that attends just now."""

    def __init__(
        self, shapes: dict[int, LayerShape], count: int, dtype: torch.dtype, device: torch.device
    ):
        self.scratch = count  # the page behind the last one: where rows without a sequence write
        self.step: Step | None = None
        self.longest = 1  # query tokens of a row, at most
        self._layers = {
            layer: (
                torch.zeros(
                    count + 1, PAGE, shape.heads, shape.key_width, dtype=dtype, device=device
                ),
                torch.zeros(
                    count + 1, PAGE, shape.heads, shape.value_width, dtype=dtype, device=device
                ),
            )
            for layer, shape in shapes.items()
        }

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # (tokens, heads, width)
        key: torch.Tensor,  # (tokens, kv heads, width)
        value: torch.Tensor,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        """(tokens, heads, width): write the step's keys and values, then let every row look at its
        own."""
        step = self.step
        assert step is not None
        keys, values = self._layers[layer]
        for pages, new in ((keys, key), (values, value)):
            pages.view(-1, *pages.shape[2:]).index_copy_(0, step.slots, new)
        return _attend(query, keys, values, step, self.longest, scale, window)


def _attend(
    query: torch.Tensor,  # (tokens, heads, width)
    keys: torch.Tensor,  # (pages, PAGE, kv heads, width)
    values: torch.Tensor,
    step: Step,
    longest: int,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    room = step.table.shape[1] * PAGE
    out = varlen_attn(
        query,
        keys,
        values,
        step.starts,
        torch.arange(len(step.used) + 1, dtype=torch.int32, device=query.device) * room,
        longest,
        room,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != keys.shape[2],
        seqused_k=step.used,
        block_table=step.table,
        num_splits=1,
    )
    assert isinstance(out, torch.Tensor)
    return out


class FlashRunner:
    """What `runner.Runner` is, over pages. `rows` is how many there may be, `context` how long
    each."""

    def __init__(
        self, model: object, shapes: dict[int, LayerShape], *, blocks: int, rows: int, context: int
    ):
        self._forward = Forward(model)
        self._device = self._forward.device
        self._most_pages = -(-context // PAGE)
        self._pages = Pages(shapes, blocks, self._forward.dtype, self._device)
        self._rows = min(rows, MOST_RECORDED)
        self._recorded: dict[int, _Recorded] = {}

    def warm_up(self) -> None:
        """Run once, then record decode steps of several sizes; a step pads its rows to the next
        one."""
        self.logits([[0]], [([self._pages.scratch], 0)], [0])
        try:
            pool = torch.cuda.graph_pool_handle() if self._device.type == "cuda" else None
            # The largest first: the others fit into its memory.
            for rows in reversed(_sizes(self._rows)):
                self._recorded[rows] = _Recorded(
                    self._compute, self._lay_out(*self._padding(rows), range(rows))[0], pool
                )
        except Exception as error:
            # A model whose work depends on its data cannot be recorded; it runs all the same.
            self._recorded = {}
            log.warning(
                "decode steps run unrecorded, which is slower: %s: %s", type(error).__name__, error
            )

    def logits(
        self,
        tokens: Sequence[list[int]],
        rows: Sequence[tuple[list[int], int]],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """Compute a step: see `Runner.logits`. What a recorded step returns is overwritten by the
        next one."""
        decodes = list(wanted) == list(range(len(rows))) and all(len(new) == 1 for new in tokens)
        size = (
            min((size for size in self._recorded if size >= len(rows)), default=None)
            if decodes
            else None
        )
        if size is None:
            return self._compute(*self._lay_out(tokens, rows, wanted))
        more_tokens, more_rows = self._padding(size - len(rows))
        step, _ = self._lay_out([*tokens, *more_tokens], [*rows, *more_rows], range(size))
        return self._recorded[size].run(step)[: len(rows)]

    def _padding(self, rows: int) -> tuple[list[list[int]], list[tuple[list[int], int]]]:
        """Tokens and rows of `rows` rows without a sequence."""
        return [[0]] * rows, [([self._pages.scratch], 0)] * rows

    def _compute(self, step: Step, longest: int = 1) -> torch.Tensor:
        self._pages.step, self._pages.longest = step, longest
        with torch.inference_mode(), attending(self._pages):
            return self._forward(step.ids, step.positions, step.keep)

    def _lay_out(
        self,
        tokens: Sequence[list[int]],
        rows: Sequence[tuple[list[int], int]],
        wanted: Sequence[int],
    ) -> tuple[Step, int]:
        """The step on the device, and how many tokens its longest row has."""
        counts = np.array([len(new) for new in tokens])
        starts = np.concatenate([[0], counts.cumsum()])
        first = np.array([start for _, start in rows])
        table = np.full((len(rows), self._most_pages), self._pages.scratch)
        for row, (blocks, _) in enumerate(rows):
            table[row, : len(blocks)] = blocks
        row_of = np.repeat(np.arange(len(rows)), counts)
        positions = np.arange(starts[-1]) - starts[row_of] + first[row_of]
        slots = table[row_of, positions // PAGE] * PAGE + positions % PAGE
        ids = np.concatenate([np.asarray(new) for new in tokens])
        step = Step(
            ids=self._on(ids, np.int64),
            positions=self._on(positions, np.int64),
            slots=self._on(slots, np.int64),
            starts=self._on(starts, np.int32),
            used=self._on(first + counts, np.int32),
            table=self._on(table, np.int32),
            keep=self._on(np.asarray(wanted), np.int64),
        )
        return step, int(counts.max())

    def _on(self, array: np.ndarray, kind: type) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(
            self._device, non_blocking=True
        )


class _Recorded:
    """One decode step with inputs and outputs at fixed places. On CUDA its kernels are replayed in
    one launch."""

    def __init__(self, compute: Callable[[Step], torch.Tensor], blank: Step, pool: Any):
        self._step = blank
        self._compute = compute
        self._graph: torch.cuda.CUDAGraph | None = None
        if blank.ids.device.type == "cuda":
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            # What kernels choose or allocate at their first calls is not to be recorded.
            with torch.cuda.stream(side):
                for _ in range(2):
                    compute(blank)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                self._logits = compute(blank)

    def run(self, step: Step) -> torch.Tensor:
        """(rows of the recording, vocabulary)."""
        for field in fields(Step):
            getattr(self._step, field.name).copy_(getattr(step, field.name), non_blocking=True)
        if self._graph is None:
            return self._compute(self._step)
        self._graph.replay()
        return self._logits


def usable(shapes: dict[int, LayerShape], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernel can serve a model of these layers here; tried out, not believed."""
    fits = all(
        shape.plain and shape.key_width == shape.value_width and shape.key_width % 8 == 0
        for shape in shapes.values()
    )
    if device.type != "cuda" or dtype not in DTYPES or not fits:
        return False
    try:
        error = max(parity(shape, dtype, device) for shape in set(shapes.values()))
    except Exception as reason:  # an older card or another torch: no reason not to serve
        log.warning(
            "torch's paged attention does not run here: %s: %s", type(reason).__name__, reason
        )
        return False
    if not error < TOLERANCE:
        log.warning(
            (
                "torch's paged attention is wrong here (largest difference %.1e); attention "
                "gathers "
                "instead"
            ),
            error,
        )
        return False
    return True


def parity(shape: LayerShape, dtype: torch.dtype, device: torch.device) -> float:
    """The largest difference between the kernel and plain arithmetic: decode rows and chunks,
    within and past a page, with and without a window."""
    generator = torch.Generator().manual_seed(1)
    lengths, counts = [1, 300, 2 * PAGE, 700, 40], [1, 1, 1, 20, 40]
    heads, width = shape.heads, shape.key_width
    query = torch.randn(sum(counts), 2 * heads, width, generator=generator).to(device, dtype)
    keys, values = (
        torch.randn(16, PAGE, heads, width, generator=generator).to(device, dtype) for _ in range(2)
    )
    table = torch.randperm(15, generator=generator).view(5, 3).to(device, torch.int32)
    starts = torch.tensor([0, *np.cumsum(counts)], dtype=torch.int32, device=device)
    empty = torch.empty(0, device=device)
    step = Step(
        empty,
        empty,
        empty,
        starts,
        torch.tensor(lengths, dtype=torch.int32, device=device),
        table,
        empty,
    )
    worst = 0.0
    for window in (None, 64):
        found = _attend(query, keys, values, step, max(counts), width**-0.5, window)
        for row, length in enumerate(lengths):
            inside = slice(int(starts[row]), int(starts[row + 1]))
            key, value = (each[table[row].long()].flatten(0, 1)[:length] for each in (keys, values))
            expected = _plainly(query[inside], key, value, window)
            worst = max(worst, (found[inside].float() - expected).abs().max().item())
    return worst


def _plainly(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """(count, heads, width) float32: the last tokens of a row look at its `key` (length, kv heads,
    width)."""
    count, heads, width = query.shape
    key, value = (
        each.float().repeat_interleave(heads // each.shape[1], 1) for each in (key, value)
    )
    asks = torch.arange(len(key) - count, len(key), device=query.device)[:, None]
    sees = torch.arange(len(key), device=query.device)[None, :]
    hidden = (sees > asks) | (False if window is None else asks - sees >= window)
    scores = torch.einsum("qhd,khd->hqk", query.float(), key) * width**-0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), value)


def _sizes(most: int) -> list[int]:
    """Rows of the recorded steps: powers of two, then every 32, so that padding stays small; up to
    `most`."""
    sizes = [size for size in (1, 2, 4, 8, 16, *range(32, most, 32)) if size < most]
    return [*sizes, most]
