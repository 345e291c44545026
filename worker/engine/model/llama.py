"""A lean forward pass for decoders built as Llama is.

Their own modules spend a third of a small step on some 2,000 tiny operations and the Python between
them. This pass computes the same from the same packed weights with a third as many operations. It
serves the families named here, after `compose.py` has compared its logits with those of the
modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from worker.engine.attention.backend import How, LayerShape, Step, StepAttention
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
    qkv: Packed
    of_queries: _Norm | None
    of_keys: _Norm | None
    out: Packed
    before_mlp: _Norm
    gate_up: Packed
    down: Packed
    how: How

    @classmethod
    def of(cls, module: Any, shape: LayerShape) -> _Layer:
        attention, mlp = module.self_attn, module.mlp
        return cls(
            before_attention=_Norm.of(module.input_layernorm),
            qkv=packed_of(attention.q_proj, attention.k_proj, attention.v_proj),
            of_queries=_Norm.of(attention.q_norm) if hasattr(attention, "q_norm") else None,
            of_keys=_Norm.of(attention.k_norm) if hasattr(attention, "k_norm") else None,
            out=packed_of(attention.o_proj),
            before_mlp=_Norm.of(module.post_attention_layernorm),
            gate_up=packed_of(mlp.gate_proj, mlp.up_proj),
            down=packed_of(mlp.down_proj),
            how=How(shape.scale, shape.window),
        )


class LlamaForward:
    """A `Forward` for a model of `FAMILIES` whose layers `kernels.linear.pack` has packed.

    Raises:
        ValueError: the model is built in another way, or its layers are not packed.
    """

    def __init__(self, model: Any, shapes: dict[int, LayerShape]):
        if model.config.model_type not in FAMILIES or model.config.hidden_act != "silu":
            raise ValueError(f"{model.config.model_type} is not built as Llama is")
        decoder = model.model
        self.device: torch.device = decoder.embed_tokens.weight.device
        self.dtype: torch.dtype = decoder.embed_tokens.weight.dtype
        self._embed = decoder.embed_tokens
        self._rotary = decoder.rotary_emb
        self._layers = [
            _Layer.of(module, shapes[index]) for index, module in enumerate(decoder.layers)
        ]
        self._norm = _Norm.of(decoder.norm)
        self._head = packed_of(model.lm_head)
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
            x = layer.down.plus(gated(layer.gate_up(layer.before_mlp(x))), x)
        return self._head(self._norm(x[step.keep]))
