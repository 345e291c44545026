"""Tries out whether a loaded model can run packed: some families go wrong without an error.

Two short rows are computed by the model's own attention, one at a time, then packed in one pass
through the paged cache and on through a decode step. The attention must be ours in every layer,
once, and the logits must agree; also past the model's windows, which are lowered for that.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from worker.engine.attention.backend import AttentionBackend, LayerShape
from worker.engine.attention.gather import Gather
from worker.engine.attention.hook import NAME, observing
from worker.engine.model.forward import Forward, ModulesForward
from worker.engine.model.runner import Runner
from worker.engine.model.selfcheck import difference, objection, tolerance
from worker.engine.model.thresholds import longest_row, lowered, rotates_by_longest_row

LENGTHS = (9, 6)  # tokens of the two rows, without the one for the decode step
BLOCKS, SIZE = 8, 4  # of the cache that they are computed over


class NotPackable(Exception):
    """Why a model must take the generate engine."""


def probe(model: Any) -> dict[int, LayerShape]:
    """The shapes of each layer's keys and values; leaves the model on our attention.

    Raises:
        NotPackable: it cannot run packed; its own attention is in place again.
    """
    if reason := _refusal(model):
        raise NotPackable(reason)
    before = model.config._attn_implementation
    try:
        return _try_out(model)
    except NotPackable:
        model.set_attn_implementation(before)
        raise
    except Exception as error:  # anything a strange family raises; the generate engine may serve it
        model.set_attn_implementation(before)
        raise NotPackable(f"running it packed failed: {type(error).__name__}: {error}") from error


def _refusal(model: Any) -> str | None:
    """Why the model cannot run packed, for reasons that two short rows would not show."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder model"
    odd = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if odd:
        return f"it has layers of kind {', '.join(sorted(odd))}"
    if getattr(config, "attention_chunk_size", None):
        return "its attention is chunked"
    if any(
        isinstance(module, torch.nn.Conv1d | torch.nn.LSTM | torch.nn.GRU)
        for module in model.modules()
    ):
        return "it has convolutional or recurrent layers"
    if rotates_by_longest_row(config):
        return "its rotary embedding depends on the longest row of the batch"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "it takes no position ids"
    return None


def _try_out(model: Any) -> dict[int, LayerShape]:
    own_attention = model.config._attn_implementation
    shapes = _compared(model)
    if reason := _unseen_window(model.config.get_text_config(), shapes):
        raise NotPackable(reason)
    with lowered(model) as thresholds:
        if thresholds:
            model.set_attn_implementation(own_attention)
            _compared(model, f" past its {' and '.join(sorted(thresholds))}")
    return shapes


def _compared(model: Any, where: str = "") -> dict[int, LayerShape]:
    """The shapes of all layers, if packed rows get the logits that they get alone; puts the model
    on our attention."""
    config = model.config.get_text_config()
    rows = trial_rows(config)
    with torch.inference_mode():
        inputs = [torch.tensor([row], device=next(model.parameters()).device) for row in rows]
        separate = [model(input_ids=ids, use_cache=False).logits[0].float() for ids in inputs]
        model.set_attn_implementation(NAME)
        with observing() as shapes:
            model(input_ids=inputs[0], use_cache=False)
    if sorted(shapes) != list(range(config.num_hidden_layers)):
        raise NotPackable(
            f"{len(shapes)} of its {config.num_hidden_layers} layers call the attention interface"
        )
    forward = ModulesForward(model)
    reason = objection(
        lambda: difference(separate, packed_logits(forward, gathered(forward, shapes), rows)),
        tolerance(model),
    )
    if reason:
        raise NotPackable(f"packed rows do not compute what separate rows do{where} ({reason})")
    return shapes


def _unseen_window(config: Any, shapes: dict[int, LayerShape]) -> str | None:
    """Why sliding windows would be ignored: a layer that has one, but does not pass it to our
    attention, relies on the attention mask, and packed rows have none."""
    window = getattr(config, "sliding_window", None)
    if (
        not window
        or window >= longest_row(config)
        or getattr(config, "use_sliding_window", None) is False
    ):
        return None
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * len(shapes)
    unseen = [
        layer
        for layer, kind in enumerate(kinds)
        if kind == "sliding_attention" and shapes[layer].window is None
    ]
    if not unseen:
        return None
    return f"{len(unseen)} of its layers have a sliding window that only their mask knows"


def trial_rows(config: Any, times: int = 1) -> list[list[int]]:
    """Token ids of two rows of `times` `LENGTHS` tokens and one more each."""
    step = max(1, config.vocab_size // 41)
    return [
        [(3 + 7 * step * place + place) % config.vocab_size for place in range(times * n + 1)]
        for n in LENGTHS
    ]


def gathered(forward: Forward, shapes: dict[int, LayerShape], times: int = 1) -> Gather:
    """A backend for `packed_logits` that runs anywhere, for rows that are `times` as long."""
    size = times * SIZE
    return Gather(shapes, blocks=BLOCKS, size=size, dtype=forward.dtype, device=forward.device)


def packed_logits(
    forward: Forward, attention: AttentionBackend, rows: list[list[int]]
) -> list[torch.Tensor]:
    """The logits of each row (tokens, vocabulary), float32: all but the last token of the two rows
    prefilled, then a decode step. `attention` has `BLOCKS` blocks of `SIZE` positions, or of as
    many times that as the rows are longer."""
    runner = Runner(forward, attention, blocks=BLOCKS, rows=len(rows))
    blocks = [[5, 1, 7], [2, 6, 3]]
    lengths = [len(row) - 1 for row in rows]
    prefilled = runner.logits(
        [row[:-1] for row in rows], [(blocks[0], 0), (blocks[1], 0)], list(range(sum(lengths)))
    )
    decoded = runner.logits(
        [row[-1:] for row in rows], list(zip(blocks, lengths, strict=True)), [0, 1]
    )
    parts = zip(prefilled.float().split(lengths), decoded.float().split(1), strict=True)
    return [torch.cat(part) for part in parts]
