"""Draws the next tokens of all rows together, each row with its own settings. Pure: logits and
settings in, tokens out.

A filter (top_k, top_p, min_p) is a threshold on the logits. It is found among a row's likeliest
tokens if they hold enough of the probability mass, otherwise in the sorted row. The token is where
the row's random number falls in the cumulative distribution of what is left, in the order of token
ids. So neither the other rows nor the way the threshold was found changes a draw. Filters apply in
the order of transformers: temperature, top_k, top_p, min_p, typical_p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from common.params import SamplingParams
from worker.engine.arrays import to_device

CANDIDATES = (64, 1024)  # how many of a row's likeliest tokens to look at before sorting all of it
TILE = 256  # tokens per tile of the two-level cumulative sum


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings of all rows, as arrays (rows,)."""

    temperature: np.ndarray  # 0 is greedy
    top_k: np.ndarray
    top_p: np.ndarray
    min_p: np.ndarray
    typical_p: np.ndarray

    @classmethod
    def of(cls, params: list[SamplingParams]) -> Knobs:
        rows = [
            (0.0 if p.is_greedy else p.temperature, p.top_k, p.top_p, p.min_p, p.typical_p)
            for p in params
        ]
        return cls(*np.array(rows, dtype=np.float64).T)

    def limits_k(self, vocabulary: int) -> np.ndarray:
        """(rows,) whether top_k drops anything."""
        limits: np.ndarray = (self.top_k > 0) & (self.top_k < vocabulary)
        return limits


def sample(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> torch.Tensor:
    """The next token of each row, (rows,) int64. `logits` are (rows, vocabulary) float32, edits
    applied.

    Rows with temperature 0 take the likeliest token and leave their number unused.
    """
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
    needing = to_device(
        np.flatnonzero((knobs.top_p < 1) & ~knobs.limits_k(scaled.shape[1])), scaled.device
    )
    return scaled.new_zeros(len(scaled)).index_copy_(
        0, needing, scaled.index_select(0, needing).logsumexp(-1)
    )


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
    entropy = -(log_p * p).nansum(-1, keepdim=True)
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
    rows, vocabulary = logits.shape
    weights = logits.softmax(-1)
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
    """The first place in each row where the running sum exceeds `share` of the whole; never a place
    of weight 0."""
    sums = weights.cumsum(1)
    place = (sums <= (share * sums[:, -1])[:, None]).sum(1)
    # Rounding may put the target at the very end: take the last place with any weight then.
    reach = sums[:, -1:]
    return torch.minimum(place, (sums < reach).sum(1))
