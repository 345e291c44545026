"""Tries out which rows `generate()` may compute in one batch: in some families a row's neighbours
change its logits.

Rows of unequal length are padded to the longest. Some families read the padding: linear attention,
learned masks, top-k over positions, scales that grow with a token's place in the batch. Some mix up
even rows of one length. So three rows are generated alone and then together, also past the model's
windows, which are lowered for that.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import LogitsProcessorList

from worker.engine.model.selfcheck import difference, tolerance, trusted
from worker.engine.model.thresholds import lowered, rotates_by_longest_row

Together = Literal["any", "equal lengths", "none"]

LENGTHS = (23, 11, 4)  # tokens of the three rows
STEPS = 5  # the first reads the prompts, the others go on from the cache


def together(model: Any) -> Together:
    """Which rows a batch may hold, so that each gets the logits that it gets alone."""
    rows = [[3 + (7 * place + 5 * length) % 89 for place in range(length)] for length in LENGTHS]
    rows = [
        [token % model.config.get_text_config(decoder=True).vocab_size for token in row]
        for row in rows
    ]
    if not _reads_padding(model) and _agree(model, rows, "in batches of one length"):
        return "any"
    if _agree(model, [row[: min(LENGTHS)] for row in rows], "one row at a time"):
        return "equal lengths"
    return "none"


def _reads_padding(model: Any) -> bool:
    """Whether the model reads padding in ways that a few short rows may not show: a recurrent state
    takes the padding in, rotary embeddings depend on the longest row, or top-k picks the tokens to
    attend to (how many there are decides between equal scores)."""
    config = model.config.get_text_config(decoder=True)
    stateful = getattr(model, "_is_stateful", False)
    return bool(stateful or rotates_by_longest_row(config) or getattr(config, "index_topk", None))


def _agree(model: Any, rows: list[list[int]], instead: str) -> bool:
    """Whether these rows get the same logits together as each alone, before the model's thresholds
    and past them."""

    def measure() -> float:
        found = _difference(model, rows)
        if not found < limit:
            return found
        with lowered(model) as thresholds:
            return _difference(model, rows) if thresholds else found

    limit = tolerance(model)
    lengths = " and ".join(map(str, sorted({*map(len, rows)})))
    what = f"{len(rows)} rows of {lengths} tokens together"
    return trusted(what, f"generates {instead}", measure, limit)


def _difference(model: Any, rows: list[list[int]]) -> float:
    with torch.inference_mode():
        alone = torch.cat([_logits(model, [row]) for row in rows])
        batched = _logits(model, rows)
    # Rounding flips no expert's choice in float32: every step must agree, not only most.
    if model.dtype == torch.float32:
        alone, batched = alone.flatten(0, 1)[:, None], batched.flatten(0, 1)[:, None]
    return difference(list(alone), list(batched))


def _logits(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """(rows, steps, vocabulary) float32: the logits of a `generate()` that must generate the same
    tokens for all rows."""
    ids, mask = padded(rows, left=not model.config.is_encoder_decoder)
    seen: list[torch.Tensor] = []

    def force(_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores.float())
        token = 5 + len(seen)
        return torch.full_like(scores, -torch.inf).index_fill_(
            1, torch.tensor([token], device=scores.device), 0.0
        )

    model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=STEPS,
        logits_processor=LogitsProcessorList([force]),
    )
    return torch.stack(seen, 1)


def padded(rows: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, longest) token ids, 0 where a row has none, and the mask of where it has some."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        inside = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[number, inside] = torch.tensor(row)
        mask[number, inside] = 1
    return ids, mask
