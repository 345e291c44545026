"""Draws every row's next token by its own settings, all rows together. Pure: logits and settings in, tokens out.

A filter (top_k, top_p, min_p) is a threshold on the logit: found among a row's likeliest tokens when they hold enough
mass, from the sorted row otherwise. The token is then where the row's random number falls in the cumulative
distribution of what is left, in token id order. So neither the batch nor the way the threshold was found changes a
draw. Filters apply in transformers' order: temperature, top_k, top_p, min_p, typical_p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from common.types import SamplingParams

CANDIDATES = (64, 1024)  # how many of a row's likeliest tokens to look at before sorting all of it
TILE = 256  # tokens per tile of the two-level cumulative sum


@dataclass(frozen=True, slots=True)
class Knobs:
    """Settings of all rows as arrays, and what to draw with."""

    temperature: np.ndarray
    top_k: np.ndarray
    top_p: np.ndarray
    min_p: np.ndarray
    typical_p: np.ndarray

    @classmethod
    def of(cls, params: list[SamplingParams]) -> Knobs:
        table = np.array([(p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p) for p in params], dtype=np.float64)
        return cls(*table.T)


def uniforms(seeds: np.ndarray, sequences: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One number in (0, 1) for each (seed, sequence, position): float32 of 24 random bits.

    Integer arithmetic alone, so equal on every machine, in every batch, before and after a resume.
    """
    state = np.full(len(seeds), 0x9E3779B9, dtype=np.uint32)
    seeds = seeds.astype(np.uint64)
    words = (seeds & np.uint64(0xFFFFFFFF), seeds >> np.uint64(32), sequences, positions)
    with np.errstate(over="ignore"):
        for word in words:
            state = _stir(state ^ word.astype(np.uint32)) + np.uint32(0x9E3779B9)
        state = _stir(state)
    return ((state >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)


def sample(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> torch.Tensor:
    """The next token of each row, (rows,) int64. `logits` are (rows, vocabulary) float32, edits applied.

    Rows with temperature 0 take the likeliest token and leave their number unused.
    """
    drawn = np.flatnonzero(knobs.temperature > 0)
    if len(drawn) < len(logits):
        tokens = logits.argmax(-1)
        if len(drawn) == 0:
            return tokens
    else:
        tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    rows = _on(drawn, logits)
    scaled = logits[rows] / _on(knobs.temperature[drawn].astype(np.float32), logits)[:, None]
    chosen = Knobs(*(getattr(knobs, name)[drawn] for name in Knobs.__slots__))
    tokens[rows] = _draw(scaled, chosen, _on(uniform[drawn], logits))
    return tokens


def _draw(scaled: torch.Tensor, knobs: Knobs, uniform: torch.Tensor) -> torch.Tensor:
    """`sample` for rows that all have a temperature, which `scaled` (rows, vocabulary) is divided by already."""
    vocabulary = scaled.shape[1]
    tokens = torch.empty(len(scaled), dtype=torch.int64, device=scaled.device)
    filtered = ((knobs.top_k > 0) & (knobs.top_k < vocabulary)) | (knobs.top_p < 1) | (knobs.min_p > 0)
    typical = knobs.typical_p < 1
    whole = np.flatnonzero(~filtered | typical)
    short = np.flatnonzero(filtered & ~typical)
    for some in CANDIDATES:
        if not len(short):
            break
        rows = _on(short, scaled)
        logits = scaled[rows] if len(short) < len(scaled) else scaled
        values, ids = logits.topk(min(some, vocabulary))  # (rows, candidates), likeliest first
        total = logits.logsumexp(-1) if (knobs.top_p[short] < 1).any() else values[:, 0]
        threshold, enough = _thresholds(values, total, knobs, short, vocabulary)
        enough &= (values[:, -1] < threshold) | (values.shape[1] == vocabulary)
        tokens[rows] = _pick_among(values, ids, threshold, uniform[rows])  # again for those that miss
        short = short[np.flatnonzero(~enough.cpu().numpy())]
    whole = np.sort(np.concatenate([whole, short]))
    if len(whole):
        rows = _on(whole, scaled)
        logits = scaled[rows] if len(whole) < len(scaled) else scaled
        tokens[rows] = _pick_from_all(_filter_sorted(logits, knobs, whole, filtered, typical), uniform[rows])
    return tokens


def _thresholds(
    values: torch.Tensor, total: torch.Tensor, knobs: Knobs, rows: np.ndarray, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least logit that each row keeps, and whether `values` (rows, some), sorted, sufficed to tell.

    `total` is the log of the row's whole mass. Ties at the threshold stay, so their order never matters.
    """
    complete = values.shape[1] == vocabulary
    some = values.shape[1]
    wants_k = _on((knobs.top_k[rows] > 0) & (knobs.top_k[rows] < vocabulary), values)
    top_k = _on(knobs.top_k[rows].astype(np.int64), values)
    kth = values.gather(1, top_k.clamp(1, some)[:, None] - 1).squeeze(1)
    by_k = kth.where(wants_k, -torch.inf)
    enough = ~wants_k | (top_k <= some) & (kth > values[:, -1])

    top_p = _on(knobs.top_p[rows].astype(np.float32), values)
    mass = (values - values[:, :1]).exp() * (values >= by_k[:, None])
    sums = mass.cumsum(1)
    needed = top_p * torch.where(wants_k, sums[:, -1], (total - values[:, 0]).exp())
    kept = ((sums - mass < needed[:, None]) & (mass > 0)).sum(1).clamp(min=1)
    by_p = values.gather(1, kept[:, None] - 1).squeeze(1).where(top_p < 1, -torch.inf)
    enough &= (top_p == 1) | (sums[:, -1] >= needed)

    min_p = _on(knobs.min_p[rows].astype(np.float32), values)
    by_min = values[:, 0] + min_p.log()  # log 0 is -inf: keeps all
    return torch.maximum(torch.maximum(by_k, by_p), by_min), enough | complete


def _filter_sorted(
    logits: torch.Tensor, knobs: Knobs, rows: np.ndarray, filtered: np.ndarray, typical: np.ndarray
) -> torch.Tensor:
    """`logits` (rows, vocabulary) with everything dropped at -inf, found by sorting the rows that have filters."""
    cut = np.flatnonzero(filtered[rows])
    if len(cut):
        at = _on(cut, logits)
        values = logits[at].sort(-1, descending=True).values
        threshold, _ = _thresholds(values, values.logsumexp(-1), knobs, rows[cut], logits.shape[1])
        logits = logits.index_copy(0, at, logits[at].masked_fill(logits[at] < threshold[:, None], -torch.inf))
    odd = np.flatnonzero(typical[rows])
    if len(odd):
        at = _on(odd, logits)
        share = _on(knobs.typical_p[rows[odd]].astype(np.float32), logits)
        logits = logits.index_copy(0, at, _keep_typical(logits[at], share))
    return logits


def _keep_typical(logits: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Keep the tokens whose surprise is nearest to the entropy, until they hold `share` of the mass."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -(log_p * p).nansum(-1, keepdim=True)
    distance = (-log_p - entropy).abs()
    order = distance.argsort(stable=True, dim=-1)
    sums = p.gather(1, order).cumsum(1)
    last = (sums < share[:, None]).sum(1, keepdim=True).clamp(max=logits.shape[1] - 1)
    threshold = distance.gather(1, order).gather(1, last)
    return logits.masked_fill(distance > threshold, -torch.inf)


def _pick_among(
    values: torch.Tensor, ids: torch.Tensor, threshold: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Where `uniform` falls among the candidates at or above the threshold, in token id order."""
    weights = (values - values[:, :1]).exp() * (values >= threshold[:, None])
    order = ids.argsort(1)
    place = _first_above(weights.gather(1, order), uniform)
    return ids.gather(1, order).gather(1, place[:, None]).squeeze(1)


def _pick_from_all(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Where `uniform` falls in the whole row's distribution; two levels, so that one tile is summed in order."""
    rows, vocabulary = logits.shape
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    tiles = torch.nn.functional.pad(weights, (0, -vocabulary % TILE)).view(rows, -1, TILE)
    masses = tiles.sum(-1)
    sums = masses.cumsum(1)
    target = uniform * sums[:, -1]
    tile = _first_above(masses, uniform)
    inside = tiles[torch.arange(rows, device=logits.device), tile]
    rest = target - (sums - masses).gather(1, tile[:, None]).squeeze(1)
    share = (rest / inside.sum(1)).clamp(0, 1)
    return tile * TILE + _first_above(inside, share)


def _first_above(weights: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """The first place of each row where the running sum exceeds `share` of the whole, never one of weight 0."""
    sums = weights.cumsum(1)
    place = (sums <= (share * sums[:, -1])[:, None]).sum(1)
    # Rounding may push the target to the very end: the last place that has any weight.
    reach = sums[:, -1:]
    return torch.minimum(place, (sums < reach).sum(1))


def _stir(x: np.ndarray) -> np.ndarray:
    """The 32-bit finaliser of MurmurHash3 (public domain)."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x85EBCA6B)
    x = x ^ (x >> np.uint32(13))
    x = x * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _on(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
