"""Decides whether the compiled kernels compute a model: only if they give what its own modules do.

Models built as Llama is run as one call a step (`compiled.py`). Others run their own modules, with
compiled products and attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from worker.engine.attention.backend import LayerShape
from worker.engine.attention.native import Native, serves
from worker.engine.kernels.compiled import pack, unpack
from worker.engine.kernels.library import Library, load, refusal
from worker.engine.kernels.packed import Kind
from worker.engine.model.compiled import CompiledForward
from worker.engine.model.forward import Forward, ModulesForward
from worker.engine.model.llama import FAMILIES
from worker.engine.model.packable import BLOCKS, gathered, packed_logits, trial_rows
from worker.engine.model.selfcheck import difference, objection, tolerance

LONGER = 4  # times the rows that `packable.py` tries: they need several blocks of the kernels' size

# The largest difference that eight bits explain: 0.13 for the demo model, above 1 for a wrong one.
QUANTISED = 0.3


class NotCompiled(Exception):
    """Why the compiled kernels do not compute a model, and whether somebody can change that."""

    def __init__(self, why: str, *, fixable: bool = False):
        super().__init__(why)
        self.fixable = fixable


def library_for(model: Any, shapes: dict[int, LayerShape], kernels: str) -> Library:
    """The kernels, if they have what this model needs; built now if nothing else is in the way.

    Raises:
        NotCompiled: they do not compute it.
    """
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise NotCompiled(f"it is on {device.type}, and the compiled kernels are for CPUs")
    if model.dtype != torch.bfloat16:
        name = str(model.dtype).removeprefix("torch.")
        raise NotCompiled(f"it is in {name}, and the compiled kernels compute bfloat16")
    if not serves(shapes, model.dtype):
        raise NotCompiled(
            "the compiled kernels have no soft caps, no sinks, and only heads with keys and values "
            "of one width, a multiple of 16 from 32 to 256"
        )
    if kernels == "torch":
        raise NotCompiled("PROMPTMILL_KERNELS=torch")
    library = load()
    if library is None:
        reason = refusal()
        raise NotCompiled(str(reason), fixable=bool(reason and reason.fix))
    return library


def compiled_forward(
    model: Any, shapes: dict[int, LayerShape], library: Library, kind: Kind
) -> Forward:
    """The forward pass over the compiled kernels, for the backend `Native`.

    Raises:
        NotCompiled: it would not compute what the model's own modules do, or not in `kind`. The
            model runs as before, unless it was to be quantised.
    """
    if kind == "int8" and model.config.model_type not in FAMILIES:
        raise NotCompiled(f"only models of the types {', '.join(FAMILIES)} are computed in int8")
    if kind == "int8" and not library.int8:
        raise NotCompiled("the CPU has no AVX512-VNNI, or its int8 kernels failed their check")
    modules = ModulesForward(model)
    rows = trial_rows(model.config.get_text_config(), LONGER)
    expected = packed_logits(modules, gathered(modules, shapes, LONGER), rows)

    def compare(forward: Forward, undo: Callable[[], object]) -> None:
        def measure() -> float:
            small = Native(shapes, blocks=BLOCKS, library=library)
            return difference(expected, packed_logits(forward, small, rows))

        if reason := objection(measure, QUANTISED if kind == "int8" else tolerance(model)):
            undo()
            raise NotCompiled(f"the compiled kernels are wrong for this model ({reason})")

    try:
        whole = CompiledForward(model, shapes, library, kind)
    except ValueError as reason:
        if kind == "int8":
            raise NotCompiled(str(reason)) from None
        pack(model, library)
        compare(modules, lambda: unpack(model))
        unpack(model, only_read=True)
        return modules
    compare(whole, whole.give_back)
    return whole
