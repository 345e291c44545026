"""The whole forward pass of decoders built as Llama is, by the compiled kernels: one call a step.

Every product, norm and attention is done in an order that does not depend on what else is in the
step. So a row's logits have the same bits alone and in any company.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from worker.engine.attention.backend import LayerShape, Step, StepAttention
from worker.engine.attention.native import NativeStep
from worker.engine.kernels import signatures
from worker.engine.kernels.library import Library
from worker.engine.kernels.memory import Arena
from worker.engine.kernels.packed import Kind, PackedLinear
from worker.engine.model.llama import FAMILIES
from worker.engine.model.rotation import Rotation

# What `pm_pass` returns: `Fault` of pass.h.
FAULTS: dict[int, tuple[type[Exception], str]] = {
    1: (MemoryError, "no memory is left for a step of so many tokens"),
    2: (IndexError, "a token id is not in the model's vocabulary"),
    3: (IndexError, "a position is not in the tables of the rotary embedding"),
    4: (IndexError, "logits are wanted at a place that the step does not have"),
}


class CompiledForward:
    """A `Forward` over the backend `attention/native.py`: bfloat16, with products of `kind`.

    It takes the weights of the model's linear layers, so that they are held once. From then on the
    model's own modules cannot run, unless `give_back` is called.

    Raises:
        ValueError: the model is built in another way; it keeps its weights.
    """

    name = "compiled"
    dtype = torch.bfloat16
    device = torch.device("cpu")

    def __init__(
        self, model: Any, shapes: dict[int, LayerShape], library: Library, kind: Kind = "bf16"
    ):
        _refuse_others(model, shapes)
        decoder = model.model
        self._library = library
        self._embedding: torch.Tensor = decoder.embed_tokens.weight.detach()
        self._rotation = Rotation(decoder.rotary_emb, shapes[0].key_width)
        self._scratch = _Scratch(library)
        self._packing = _Packing(library, kind, self._embedding)
        self._norms: list[torch.Tensor] = []  # held, because the structures have their addresses
        try:
            self._layers = (signatures.Layer * len(shapes))(
                *(self._layer(module, shapes[n]) for n, module in enumerate(decoder.layers))
            )
            self._model = self._whole(model, shapes[0])
        except BaseException:
            self.give_back()
            raise
        self._reach(1)

    def __call__(self, step: Step, attention: StepAttention) -> torch.Tensor:
        """Logits (kept, vocabulary), float32, in memory of their own."""
        assert isinstance(attention, NativeStep)
        self._reach(max(row.total for row in step.rows))
        logits = torch.empty(len(step.keep), self._model.vocabulary)
        asked = signatures.Step(
            tokens=len(step.ids),
            ids=step.ids.data_ptr(),
            positions=step.positions.data_ptr(),
            rows=attention.rows,
            plan=attention.plan,
            caches=ctypes.addressof(attention.structures),
            wanted=len(step.keep),
            keep=step.keep.data_ptr(),
        )
        fault = self._library.functions.pm_pass(self._model, asked, logits.data_ptr())
        if fault:
            error, what = FAULTS[fault]
            raise error(what)
        return logits

    def give_back(self) -> None:
        """Return the weights to the model's own modules; this pass must not be called again. Those
        that were quantised stay without."""
        self._packing.give_back()

    def _reach(self, positions: int) -> None:
        self._rotation.reach(positions)
        self._model.positions = len(self._rotation.cosines)
        self._model.cosines = self._rotation.cosines.data_ptr()
        self._model.sines = self._rotation.sines.data_ptr()

    def _whole(self, model: Any, shape: LayerShape) -> signatures.Model:
        decoder, config = model.model, model.config
        return signatures.Model(
            count=len(self._layers),
            hidden=config.hidden_size,
            inner=config.intermediate_size,
            width=shape.key_width,
            query_heads=config.num_attention_heads,
            heads=shape.heads,
            known=len(self._embedding),
            vocabulary=model.lm_head.out_features,
            embedding=self._embedding.data_ptr(),
            layers=ctypes.addressof(self._layers),
            last=self._norm(decoder.norm),
            head=self._packing.take(model.lm_head),
            scratch=self._scratch.address,
        )

    def _layer(self, module: Any, shape: LayerShape) -> signatures.Layer:
        attention, mlp, take = module.self_attn, module.mlp, self._packing.take
        return signatures.Layer(
            before_attention=self._norm(module.input_layernorm),
            qkv=take(attention.q_proj, attention.k_proj, attention.v_proj),
            of_queries=self._norm(getattr(attention, "q_norm", None)),
            of_keys=self._norm(getattr(attention, "k_norm", None)),
            out=take(attention.o_proj),
            before_mlp=self._norm(module.post_attention_layernorm),
            gate_up=take(mlp.gate_proj, mlp.up_proj),
            down=take(mlp.down_proj),
            reading=signatures.Reading(
                scale=shape.scale,
                window=shape.window or 0,
                query_heads=attention.config.num_attention_heads,
            ),
        )

    def _norm(self, module: Any) -> signatures.Norm:
        if module is None:
            return signatures.Norm()
        weight = module.weight.detach().contiguous()
        self._norms.append(weight)
        return signatures.Norm(weight.data_ptr(), module.variance_epsilon)


def _refuse_others(model: Any, shapes: dict[int, LayerShape]) -> None:
    """Raises ValueError for a model that the pass does not describe."""
    config = model.config
    if config.model_type not in FAMILIES or config.hidden_act != "silu":
        raise ValueError(f"{config.model_type} is not built as Llama is")
    if len({(shape.heads, shape.key_width) for shape in shapes.values()}) > 1:
        raise ValueError("its layers differ in their heads")
    if any(weight.dtype != torch.bfloat16 for weight in model.parameters()):
        raise ValueError("not all of its weights are bfloat16")


class _Packing:
    """Takes weights out of linear layers, packs those of one input side by side, and holds them."""

    def __init__(self, library: Library, kind: Kind, embedding: torch.Tensor):
        self._library = library
        self._kind = kind
        self._embedding = embedding
        self._arena = Arena()
        self._taken: list[tuple[tuple[torch.nn.Linear, ...], PackedLinear]] = []

    def take(self, *layers: torch.nn.Linear) -> signatures.Linear:
        weights = [layer.weight.detach() for layer in layers]
        packed = PackedLinear(
            self._library,
            torch.cat(weights) if len(weights) > 1 else weights[0],
            _biases(layers),
            kind=self._kind,
            arena=self._arena,
        )
        self._taken.append((layers, packed))
        for layer in layers:
            if layer.weight.data_ptr() != self._embedding.data_ptr():  # a tied head keeps it
                layer.weight = _parameter(layer.weight.new_empty(0))
        return packed.structure

    def give_back(self) -> None:
        for layers, packed in self._taken:
            if packed.kind == "int8":
                continue
            weights = packed.unpacked().split([layer.out_features for layer in layers])
            for layer, weight in zip(layers, weights, strict=True):
                if not layer.weight.numel():
                    layer.weight = _parameter(weight)
        self._taken.clear()


def _biases(layers: tuple[torch.nn.Linear, ...]) -> torch.Tensor | None:
    if all(layer.bias is None for layer in layers):
        return None
    return torch.cat(
        [
            torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach().float()
            for layer in layers
        ]
    )


def _parameter(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight, requires_grad=False)


class _Scratch:
    """The memory that a pass computes in, from step to step."""

    def __init__(self, library: Library):
        self._functions = library.functions
        self.address: int = self._functions.pm_scratch_new()

    def __del__(self) -> None:
        self._functions.pm_scratch_free(self.address)
