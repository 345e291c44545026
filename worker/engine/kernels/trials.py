"""What the check of a built library has it compute, and the same by plain numpy.

Small, but with what goes wrong first: odd widths, rows beyond a tile, more than one thread, blocks
of the cache in any order, and NaN where nothing may be read.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.kernels.signatures import DRAW, Cache, Linear, Reading, Rows

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]  # bfloat16: the upper half of a float32's bits

ALIGNMENT = 64  # bytes
BF16, INT8 = 0, 1  # kinds of weights
FLOATS = 1  # the kind of results that are float32
GROUP = 64  # inputs that share a scale in int8
HALF = 2.0**-8  # relative error of rounding to bfloat16

# The largest error that rounding explains, relative to the largest result.
SUMMED = 1e-5  # in float32
ROUNDED = 2 * HALF  # to bfloat16, in between and at the end
QUANTISED = 2e-2  # to int8, weights and inputs

EPSILON = 1e-5
ROWS, INS, OUTS = 9, 133, 101
HEADS, QUERY_HEADS, WIDTH, BLOCK = 2, 6, 64, 16
VOCABULARY = 601  # more than two tiles of tokens
CUTS = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
DRAWN: tuple[dict[str, float], ...] = (
    {},
    {"temperature": 0.7},
    {"temperature": 1.0, "top_k": 20},
    {"temperature": 1.5, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 1.0, "typical_p": 0.5},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.8, "min_p": 0.01, "typical_p": 0.9},
)
CHUNK = 70  # tokens: more than one span of 64 positions, and one more token follows


def halves(values: Floats) -> Halves:
    """Rounded to the nearest bfloat16, in memory that begins as the kernels want it."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    place = aligned(rounded.nbytes).view(np.uint16).reshape(rounded.shape)
    place[...] = rounded
    return place


def floats(values: Halves) -> Floats:
    return (values.astype(np.uint32) << 16).view(np.float32)


def aligned(size: int) -> NDArray[np.uint8]:
    """(size,) zero bytes that begin at a multiple of `ALIGNMENT`."""
    whole = np.zeros(size + ALIGNMENT, np.uint8)
    begin = -whole.ctypes.data % ALIGNMENT
    return whole[begin : begin + size]


def error(found: Floats, expected: NDArray[np.float64]) -> float:
    """The largest difference, relative to the largest number that was expected."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


class Trials:
    """The trials of a library whose functions are declared."""

    def __init__(self, functions: ctypes.CDLL):
        self._functions = functions
        self._random = np.random.default_rng(1)

    def first_failure(self) -> str:
        """The first trial whose result is wrong, in words; "" if there is none."""
        trials: dict[str, tuple[Callable[[], float], float]] = {
            "products of bfloat16": (lambda: self.product(BF16), SUMMED),
            "numbers of the attention": (self.attention, ROUNDED),
            "norms": (self.norm, ROUNDED),
            "tokens": (self.tokens, SUMMED),
        }
        for what, (trial, limit) in trials.items():
            if not (found := trial()) < limit:  # NaN is not below
                return f"{what} are wrong: error {found:.1e}, at most {limit:.0e}"
        return ""

    def int8(self) -> bool:
        """Whether the products of int8 are right."""
        return self.product(INT8) < QUANTISED

    def product(self, kind: int) -> float:
        """The error of a layer's outputs; infinite if a row alone has others than in company."""
        rows, weights = (self._some(count, INS) for count in (ROWS, OUTS))
        bias = self._random.standard_normal(OUTS, np.float32)
        packed = aligned(self._functions.pm_packed_bytes(kind, OUTS, INS))
        scales = np.ones(OUTS, np.float32)
        pack = [weights.ctypes.data, packed.ctypes.data]
        if kind == INT8:
            self._functions.pm_pack_int8(*pack, scales.ctypes.data, OUTS, INS)
        else:
            self._functions.pm_pack_bf16(*pack, OUTS, INS)
        memory = (packed.ctypes.data, scales.ctypes.data, bias.ctypes.data)
        layer = Linear(kind, OUTS, INS, GROUP, *memory)
        out, alone = self._outputs(layer, rows), self._outputs(layer, rows[-1:])
        if not np.array_equal(out[-1:], alone):
            return math.inf
        return error(out, floats(rows).astype(float) @ floats(weights).astype(float).T + bias)

    def _outputs(self, layer: Linear, rows: Halves) -> Floats:
        out = np.full((len(rows), OUTS), np.nan, np.float32)
        self._functions.pm_linear(
            ctypes.byref(layer), rows.ctypes.data, INS, len(rows), out.ctypes.data, OUTS, FLOATS
        )
        return out

    def attention(self) -> float:
        """The error of what a sequence's tokens attend to: a chunk, and then one token more."""
        length = CHUNK + 1
        queries = self._some(length, QUERY_HEADS * WIDTH)
        keys, values = (self._some(length, HEADS * WIDTH) for _ in range(2))
        blocks = -(-length // BLOCK)
        cache = halves(np.full((blocks, HEADS, 2 * BLOCK * WIDTH), np.nan, np.float32))
        table = np.arange(blocks, dtype=np.int32)[::-1].copy()
        out = np.zeros((length, QUERY_HEADS * WIDTH), np.uint16)
        described = Cache(cache.ctypes.data, HEADS, WIDTH)
        for first, end in ((0, CHUNK), (CHUNK, length)):
            self._attend(described, table, first, queries, keys, values, out, end)
        return error(floats(out), attended(floats(queries), floats(keys), floats(values)))

    def norm(self) -> float:
        """The error of rows' RMS norm."""
        rows, weight = self._some(ROWS, INS), self._some(INS)
        out = np.zeros((ROWS, INS), np.uint16)
        self._functions.pm_norm(
            rows.ctypes.data, ROWS, weight.ctypes.data, EPSILON, INS, out.ctypes.data
        )
        x = floats(rows).astype(float)
        size = np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        return error(floats(out), x / size * floats(weight))

    def tokens(self) -> float:
        """The share of rows for which another token is drawn than that on which the middle of its
        random numbers falls."""
        logits = 3 * self._random.standard_normal((len(DRAWN), VOCABULARY), np.float32)
        rows, expected = np.zeros(len(DRAWN), DRAW), []
        for row, settings, values in zip(rows, DRAWN, logits, strict=True):
            for name, value in {**CUTS, **settings}.items():
                row[name] = value
            row["logits"] = values.ctypes.data
            shares = chances(values.astype(float), **{**CUTS, **settings})
            token = self._random.choice(VOCABULARY, p=shares)
            row["uniform"] = shares[:token].sum() + shares[token] / 2
            expected.append(token)
        self._functions.pm_draw(rows.ctypes.data, len(rows), VOCABULARY)
        return float((rows["token"] != expected).mean())

    def _attend(
        self, cache: Cache, table: Any, first: int, q: Any, k: Any, v: Any, out: Any, end: int
    ) -> None:
        """Let the tokens `first` to `end` of the one sequence attend."""
        starts, firsts = np.array([0, end - first], np.int32), np.array([first], np.int32)
        arrays = (array.ctypes.data for array in (starts, firsts, table))
        rows = Rows(1, *arrays, len(table))
        reading = Reading(WIDTH**-0.5, 0, QUERY_HEADS)
        memory = [part for x in (q, k, v, out) for part in (x[first:].ctypes.data, x.shape[1])]
        plan = self._functions.pm_plan_new(ctypes.byref(rows))
        self._functions.pm_attend(
            ctypes.byref(cache), ctypes.byref(rows), plan, ctypes.byref(reading), *memory
        )
        self._functions.pm_plan_free(plan)

    def _some(self, *shape: int) -> Halves:
        return halves(self._random.standard_normal(shape, np.float32))


def attended(queries: Floats, keys: Floats, values: Floats) -> NDArray[np.float64]:
    """What each token attends to in those before it and itself: (tokens, query heads * width)."""
    q = queries.reshape(len(queries), HEADS, -1, WIDTH).astype(float)
    k, v = (x.reshape(len(x), HEADS, WIDTH).astype(float) for x in (keys, values))
    scores = np.einsum("thgw,shw->hgts", q, k) / math.sqrt(WIDTH)
    scores += np.triu(np.full(scores.shape[-2:], -np.inf), 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hgts,shw->thgw", weights, v).reshape(len(queries), -1)


def chances(
    logits: NDArray[np.float64],
    temperature: float,
    top_k: float,
    top_p: float,
    min_p: float,
    typical_p: float,
) -> NDArray[np.float64]:
    """The probabilities by which tokens are drawn from logits (vocabulary,)."""
    if not temperature:
        return (np.arange(len(logits)) == logits.argmax()).astype(float)
    weights = np.exp((logits - logits.max()) / temperature)
    if top_k:
        weights[logits < np.sort(logits)[-int(top_k)]] = 0
    falling = np.sort(weights)[::-1]
    if top_p < 1:
        weights[weights < falling[falling.cumsum().searchsorted(top_p * weights.sum())]] = 0
    weights[weights < min_p] = 0
    if typical_p < 1:
        shares = np.maximum(weights / weights.sum(), np.finfo(float).tiny)
        distance = np.abs(np.log(shares) - (shares * np.log(shares)).sum())
        order = distance.argsort()
        last = shares[order].cumsum().searchsorted(typical_p)
        weights[distance > distance[order[last]]] = 0
    return weights / weights.sum()
