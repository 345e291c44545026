"""A lean forward pass for decoders built as Llama is.

Their own modules spend a third of a small step on some 2,000 tiny operations and the Python between
them. This pass computes the same from the same weights with a third as many operations: packed
weights on a CPU, joined ones on a GPU. It serves the families named here, after `compose.py` has
compared its logits with those of the modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from worker.engine.attention.backend import How, LayerShape, Step, StepAttention
from worker.engine.kernels.joined import Joined, joined_of
from worker.engine.kernels.linear import Packed, packed_of
from worker.engine.kernels.ops import gated, rms_norm, rotate

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor  # (2 * width,): see `kernels.ops.rms_norm`
    eps: float

    @classmethod
    def of(cls, module: Any) -> _Norm:
        return cls(torch.cat((module.weight, module.weight)).detach(), module.variance_epsilon)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight, self.eps)


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: _Norm
    qkv: Packed | Joined
    of_queries: _Norm | None
    of_keys: _Norm | None
    out: Packed | Joined
    before_mlp: _Norm
    gate: Callable[[torch.Tensor], torch.Tensor]
    down: Packed | Joined
    how: How

    @classmethod
    def of(cls, module: Any, shape: LayerShape, joined: bool) -> _Layer:
        attention, mlp = module.self_attn, module.mlp
        side_by_side = joined_of if joined else packed_of
        return cls(
            before_attention=_Norm.of(module.input_layernorm),
            qkv=side_by_side(attention.q_proj, attention.k_proj, attention.v_proj),
            of_queries=_Norm.of(attention.q_norm) if hasattr(attention, "q_norm") else None,
            of_keys=_Norm.of(attention.k_norm) if hasattr(attention, "k_norm") else None,
            out=side_by_side(attention.o_proj),
            before_mlp=_Norm.of(module.post_attention_layernorm),
            gate=_gate(mlp.gate_proj, mlp.up_proj, joined),
            down=side_by_side(mlp.down_proj),
            how=How(shape.scale, shape.window),
        )


def _gate(gate: Any, up: Any, joined: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """silu(gate(x)) * up(x) of x (tokens, hidden)."""
    if not joined:
        packed = packed_of(gate, up)
        return lambda x: gated(packed(x))
    # Each by itself: what a GPU computes from outputs that lie side by side takes longer than it
    # saves to launch one product instead of two.
    left, right = joined_of(gate), joined_of(up)
    return lambda x: silu(left(x)).mul_(right(x))


def joins(device: torch.device) -> bool:
    """Whether linear layers are joined on this device. Elsewhere they have to be packed."""
    return device.type == "cuda"


class LlamaForward:
    """A `Forward` for a model of `FAMILIES` that is on a GPU, or whose layers `kernels.linear.pack`
    has packed.

    Raises:
        ValueError: the model is built in another way, or its layers are not packed.
    """

    name = "lean"

    def __init__(self, model: Any, shapes: dict[int, LayerShape]):
        if model.config.model_type not in FAMILIES or model.config.hidden_act != "silu":
            raise ValueError(f"{model.config.model_type} is not built as Llama is")
        decoder = model.model
        self.device: torch.device = decoder.embed_tokens.weight.device
        self.dtype: torch.dtype = decoder.embed_tokens.weight.dtype
        self._embed = decoder.embed_tokens
        self._rotary = decoder.rotary_emb
        joined = joins(self.device)
        self._layers = [
            _Layer.of(module, shapes[index], joined) for index, module in enumerate(decoder.layers)
        ]
        self._norm = _Norm.of(decoder.norm)
        self._head = (joined_of if joined else packed_of)(model.lm_head)
        self._heads = shapes[0].heads
        self._width = shapes[0].key_width

    def __call__(self, step: Step, attention: StepAttention) -> torch.Tensor:
        x = self._embed(step.ids)
        cos, sin = (part[0, :, None] for part in self._rotary(x[None], step.positions[None]))
        sin = torch.cat((-sin[..., : self._width // 2], sin[..., self._width // 2 :]), -1)
        for index, layer in enumerate(self._layers):
            heads = layer.qkv(layer.before_attention(x)).view(len(x), -1, self._width)
            query, key, value = heads.tensor_split((-2 * self._heads, -self._heads), 1)
            if layer.of_queries and layer.of_keys:
                query, key = (
                    rotate(layer.of_queries(query), cos, sin),
                    rotate(layer.of_keys(key), cos, sin),
                )
            else:
                query, key = rotate(heads[:, : -self._heads], cos, sin).tensor_split(
                    (-self._heads,), 1
                )
            x = layer.out.plus(attention.attend(index, query, key, value, layer.how).flatten(1), x)
            x = layer.down.plus(layer.gate(layer.before_mlp(x)), x)
        return self._head(self._norm(x[step.keep]))
