"""Whether a loaded model can run packed: tried out, because some families go wrong without a word.

Two short rows are computed by the model's own attention, one at a time, then packed in one pass through the paged cache
and on through a decode step. The attention must be ours in every layer, once, and the logits must agree.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from .attention import NAME, observing
from .kv import LayerShape
from .runner import Runner

LENGTHS = (9, 6)  # tokens of the two rows, without the one for the decode step


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
    except Exception as error:  # whatever a strange family does, it is no reason not to serve it
        model.set_attn_implementation(before)
        raise NotPackable(f"running it packed failed: {type(error).__name__}: {error}") from error


def _refusal(model: Any) -> str | None:
    """What two short rows would not show."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder model"
    odd = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if odd:
        return f"it has layers of kind {', '.join(sorted(odd))}"
    if getattr(config, "attention_chunk_size", None):
        return "its attention is chunked"
    if any(isinstance(module, torch.nn.Conv1d | torch.nn.LSTM | torch.nn.GRU) for module in model.modules()):
        return "it has convolutional or recurrent layers"
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type")} | {part.get("rope_type") for part in rope.values() if isinstance(part, dict)}
    if kinds & {"dynamic", "longrope"}:
        return "its rotary embedding depends on the longest row of the batch"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "it takes no position ids"
    return None


def _try_out(model: Any) -> dict[int, LayerShape]:
    config = model.config.get_text_config()
    device = next(model.parameters()).device
    step = max(1, config.vocab_size // 41)
    rows = [[(3 + 7 * step * place + place) % config.vocab_size for place in range(n + 1)] for n in LENGTHS]
    with torch.inference_mode():
        inputs = [torch.tensor([row], device=device) for row in rows]
        separate = [model(input_ids=ids, use_cache=False).logits[0].float() for ids in inputs]
        model.set_attn_implementation(NAME)
        with observing() as shapes:
            model(input_ids=inputs[0], use_cache=False)
    if sorted(shapes) != list(range(config.num_hidden_layers)):
        raise NotPackable(f"{len(shapes)} of its {config.num_hidden_layers} layers call the attention interface")

    runner = Runner(model, shapes, blocks=8, size=4)
    blocks = [[5, 1, 7], [2, 6, 3]]
    prefilled = runner.logits([row[:-1] for row in rows], [(blocks[0], 0), (blocks[1], 0)], list(range(sum(LENGTHS))))
    decoded = runner.logits([row[-1:] for row in rows], list(zip(blocks, LENGTHS, strict=True)), [0, 1])
    prefilled, decoded = prefilled.float(), decoded.float()
    packed = [
        torch.cat([prefilled[: LENGTHS[0]], decoded[:1]]),
        torch.cat([prefilled[LENGTHS[0] :], decoded[1:]]),
    ]
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    for expected, found in zip(separate, packed, strict=True):
        spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
        # A leak between rows shows in every token; rounding in bfloat16 may flip an expert's choice in a few.
        error = ((found - expected).norm(dim=-1) / spread).median().item()
        if not error < tolerance:
            raise NotPackable(f"packed rows do not compute what separate rows do (relative difference {error:.1e})")
    return shapes
