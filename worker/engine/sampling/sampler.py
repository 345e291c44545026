"""Draws the next tokens of all rows, each row with its own settings. Pure: logits and settings in,
tokens out.

Temperature 0 takes the likeliest token, the lowest id among equals. Otherwise filters apply in the
order of transformers: temperature, top_k, top_p, min_p, typical_p; tokens equal to the last one
kept are kept too, so that their order never matters. The token is where the row's random number
falls in the cumulative distribution of what is left, in the order of token ids.

What is drawn for a row depends on this row alone: not on the other rows, not on its place among
them, and on a CPU not on the number of threads. A CPU draws row by row (`row_by_row.py`), a GPU all
rows together (`together.py`). Where the compiled kernels compute a model they also draw
(`kernels/source/draw.h`): by the same rules, with sums rounded in other places; which number draws
a row with a grammar is another matter there (`draw.py`).
"""

from __future__ import annotations

import numpy as np
import torch

from worker.engine.sampling import row_by_row, together
from worker.engine.sampling.knobs import Knobs


def sample(logits: torch.Tensor, knobs: Knobs, uniform: np.ndarray) -> torch.Tensor:
    """The next token of each row, (rows,) int64. `logits` are (rows, vocabulary) float32, edits
    applied; `uniform` are the rows' random numbers, of which those of greedy rows are not used."""
    if logits.device.type == "cpu":
        return torch.from_numpy(row_by_row.sample(logits, knobs, uniform))
    return together.sample(logits, knobs, uniform)


def likeliest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logit of each row, float32, and its token; the lowest id among equals.

    `logits` are (rows, vocabulary). A row with a NaN has NaN as its largest.
    """
    if logits.device.type != "cpu":
        best, tokens = logits.max(-1)
        return best.float(), tokens
    tokens = torch.from_numpy(logits.float().numpy().argmax(1))
    return logits.gather(1, tokens[:, None]).squeeze(1).float(), tokens
