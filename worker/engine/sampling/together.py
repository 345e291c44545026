"""Draws tokens on a GPU: all rows together, in tensor operations. `sampler.py` says what is drawn.

A filter (top_k, top_p, min_p) is a threshold on the logits. It is found among a row's likeliest
tokens if they hold enough of the probability mass, otherwise in the sorted row.

Where a row's values are added up, they are added in tiles: a reduction with few results is split
in ways that depend on how many there are, so a row alone would come to another sum.
"""

from __future__ import annotations

import numpy as np
import torch

from worker.engine.arrays import to_device
from worker.engine.sampling.knobs import Knobs

CANDIDATES = (64, 1024)  # how many of a row's likeliest tokens to look at before sorting all of it
TILE = 256  # tokens per tile of the two-level cumulative sum


def sample(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> torch.Tensor:
    """`sampler.sample` for logits on any device."""
    tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    drawn, greedy = np.flatnonzero(knobs.temperature > 0), np.flatnonzero(knobs.temperature == 0)
    if len(greedy):
        rows = to_device(greedy, logits.device)
        tokens[rows] = logits.index_select(0, rows).argmax(-1)
    if len(drawn):
        rows = to_device(drawn, logits.device)
        scaled = logits.index_select(0, rows).div_(
            to_device(knobs.temperature[drawn], logits.device, np.float32)[:, None]
        )
        chosen = Knobs(*(getattr(knobs, name)[drawn] for name in Knobs.__slots__))
        tokens[rows] = _draw(scaled, chosen, to_device(uniform[drawn], logits.device))
    return tokens


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """The ids (rows, count) of the largest values (rows, vocabulary) float32, the largest first,
    the lowest id first among equals."""
    bits = values.view(torch.int32)
    ordered = bits ^ (bits >> 31 & 0x7FFF_FFFF)  # integers in the order of the values
    ids = torch.arange(values.shape[1], device=values.device)
    keys = (ordered.long() << 32) - ids
    return -keys.topk(count).values & 0xFFFF_FFFF


def _draw(scaled: torch.Tensor, knobs: Knobs, uniform: torch.Tensor) -> torch.Tensor:
    """`sample` for rows that all have a temperature; `scaled` (rows, vocabulary) are the logits
    divided by it."""
    vocabulary = scaled.shape[1]
    tokens = torch.empty(len(scaled), dtype=torch.int64, device=scaled.device)
    floor = scaled.new_full((len(scaled),), -torch.inf)  # the least logit that each row keeps
    total = _totals(scaled, knobs)
    typical = knobs.typical_p < 1
    # Rows whose floor is yet to be found.
    unknown = knobs.limits_k(vocabulary) | (knobs.top_p < 1) | (knobs.min_p > 0)
    drawn = np.zeros(len(scaled), dtype=bool)
    for some in CANDIDATES:
        tried = np.flatnonzero(unknown & ~typical)
        if not len(tried):
            break
        rows = to_device(tried, scaled.device)
        values, ids = _likeliest(scaled, tried, min(some, vocabulary))
        floor[rows], known = _thresholds(values, total[rows], knobs, tried, vocabulary)
        reached = known & ((values[:, -1] < floor[rows]) | (values.shape[1] == vocabulary))
        # Again for those that are not reached.
        tokens[rows] = _pick_among(values, ids, floor[rows], uniform[rows])
        unknown[tried] = ~known.cpu().numpy()
        drawn[tried] = reached.cpu().numpy()
    whole = np.flatnonzero(~drawn)
    if len(whole):
        rows = to_device(whole, scaled.device)
        unsorted = np.flatnonzero(unknown[whole])
        if len(unsorted):
            at = rows[to_device(unsorted, scaled.device)]
            values = scaled.index_select(0, at).sort(-1, descending=True).values
            floor[at], _ = _thresholds(values, total[at], knobs, whole[unsorted], vocabulary)
        logits = scaled.index_select(0, rows)
        least = floor[rows]
        if (least > -torch.inf).any():
            logits = torch.where(logits < least[:, None], -torch.inf, logits)
        tokens[rows] = _pick_from_all(_keep_typical(logits, knobs.typical_p[whole]), uniform[rows])
    return tokens


def _totals(scaled: torch.Tensor, knobs: Knobs) -> torch.Tensor:
    """(rows,) the log of the row's whole mass if top_p needs it, else 0."""
    totals = scaled.new_zeros(len(scaled))
    needing = np.flatnonzero((knobs.top_p < 1) & ~knobs.limits_k(scaled.shape[1]))
    if len(needing):
        rows = to_device(needing, scaled.device)
        logits = scaled.index_select(0, rows)
        top = logits.amax(-1, keepdim=True)
        totals[rows] = top.squeeze(1) + _sum((logits - top).exp()).log()
    return totals


def _likeliest(
    scaled: torch.Tensor, rows: np.ndarray, some: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and ids (rows, some) of the likeliest tokens, likeliest first."""
    logits = (
        scaled
        if len(rows) == len(scaled)
        else scaled.index_select(0, to_device(rows, scaled.device))
    )
    values, ids = logits.topk(some)
    return values, ids


def _thresholds(
    values: torch.Tensor, total: torch.Tensor, knobs: Knobs, rows: np.ndarray, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least logit that each row keeps, and whether `values` (rows, some), sorted, were enough
    to find it.

    `total` is the log of the whole mass of rows that have top_p without top_k. Tokens equal to the
    threshold are kept, so that their order never matters.
    """
    complete = values.shape[1] == vocabulary
    some = values.shape[1]
    wants_k = to_device(knobs.limits_k(vocabulary)[rows], values.device)
    top_k = to_device(knobs.top_k[rows], values.device, np.int64)
    kth = values.gather(1, top_k.clamp(1, some)[:, None] - 1).squeeze(1)
    by_k = kth.where(wants_k, -torch.inf)
    enough = ~wants_k | (top_k <= some) & (kth > values[:, -1])

    top_p = to_device(knobs.top_p[rows], values.device, np.float32)
    mass = (values - values[:, :1]).exp() * (values >= by_k[:, None])
    sums = mass.cumsum(1)
    needed = top_p * torch.where(wants_k, sums[:, -1], (total - values[:, 0]).exp())
    kept = ((sums - mass < needed[:, None]) & (mass > 0)).sum(1).clamp(min=1)
    by_p = values.gather(1, kept[:, None] - 1).squeeze(1).where(top_p < 1, -torch.inf)
    enough &= (top_p == 1) | (sums[:, -1] >= needed)

    min_p = to_device(knobs.min_p[rows], values.device, np.float32)
    by_min = values[:, 0] + min_p.log()  # log 0 is -inf: keeps all
    return torch.maximum(torch.maximum(by_k, by_p), by_min), enough | complete


def _keep_typical(logits: torch.Tensor, shares: np.ndarray) -> torch.Tensor:
    """In rows with a share below 1, keep the tokens whose surprise is nearest to the entropy, as
    many as hold this share of the mass."""
    odd = np.flatnonzero(shares < 1)
    if not len(odd):
        return logits
    at = to_device(odd, logits.device)
    log_p = logits.index_select(0, at).log_softmax(-1)
    p = log_p.exp()
    entropy = -_sum((log_p * p).nan_to_num(0.0))[:, None]
    distance = (-log_p - entropy).abs()
    order = distance.argsort(stable=True, dim=-1)
    sums = p.gather(1, order).cumsum(1)
    share = to_device(shares[odd], logits.device, np.float32)
    last = (sums < share[:, None]).sum(1, keepdim=True).clamp(max=logits.shape[1] - 1)
    threshold = distance.gather(1, order).gather(1, last)
    return logits.index_copy(0, at, log_p.masked_fill(distance > threshold, -torch.inf))


def _pick_among(
    values: torch.Tensor, ids: torch.Tensor, threshold: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """The token where `uniform` falls among the candidates at or above the threshold, in the order
    of token ids."""
    weights = (values - values[:, :1]).exp() * (values >= threshold[:, None])
    order = ids.argsort(1)
    place = _first_above(weights.gather(1, order), uniform)
    return ids.gather(1, order).gather(1, place[:, None]).squeeze(1)


def _pick_from_all(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The token where `uniform` falls in the distribution of the whole row. Summed in two levels,
    so that only one tile is summed token by token."""
    rows = len(logits)
    weights = logits.softmax(-1)
    tiles = _tiles(weights)
    masses = tiles.sum(-1)
    sums = masses.cumsum(1)
    target = uniform * sums[:, -1]
    tile = _first_above(masses, uniform)
    inside = tiles[torch.arange(rows, device=logits.device), tile]
    rest = target - (sums - masses).gather(1, tile[:, None]).squeeze(1)
    share = (rest / inside.sum(1)).clamp(0, 1)
    return tile * TILE + _first_above(inside, share)


def _tiles(values: torch.Tensor) -> torch.Tensor:
    """Values (rows, vocabulary) as (rows, tiles, TILE), filled up with zeros."""
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % TILE))
    return padded.view(len(values), -1, TILE)


def _sum(values: torch.Tensor) -> torch.Tensor:
    """The sum of each row (rows,), in an order that is the same for any number of rows."""
    return _tiles(values).sum(-1).cumsum(1)[:, -1]


def _first_above(weights: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """The first place in each row where the running sum exceeds `share` of the whole; never a place
    of weight 0."""
    sums = weights.cumsum(1)
    place = (sums <= (share * sums[:, -1])[:, None]).sum(1)
    # Rounding may put the target at the very end: take the last place with any weight then.
    reach = sums[:, -1:]
    return torch.minimum(place, (sums < reach).sum(1))
