"""Composes the runner of a model: packed weights, forward pass, attention backend, and the memory
for keys and values.

This is the one place where faster code is chosen over slower. Each is first compared with what it
replaces (`selfcheck.py`).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from common.errors import ConfigError, EngineError
from worker.engine.attention import flash, native
from worker.engine.attention.backend import AttentionBackend, LayerShape, bytes_per_token
from worker.engine.attention.gather import Gather
from worker.engine.kernels.linear import pack, unpack
from worker.engine.model.choice import NotCompiled, compiled_forward, library_for
from worker.engine.model.compiled import CompiledForward
from worker.engine.model.forward import Forward, ModulesForward
from worker.engine.model.llama import LlamaForward
from worker.engine.model.packable import gathered, packed_logits, probe, trial_rows
from worker.engine.model.runner import Runner
from worker.engine.model.selfcheck import ONE_OPERATION, difference, tolerance, trusted

log = logging.getLogger(__name__)

BLOCK_SIZE = 16  # tokens: larger ones are no faster, and prompts share only whole blocks
CPU_KV_BYTES = 2 << 30  # at most; pages are only taken when a block is first used


def compose(
    model: Any,
    *,
    rows: int,
    context: int,
    kv_tokens: int | None = None,
    block_size: int = BLOCK_SIZE,
    kernels: Literal["auto", "torch"] = "auto",
    quantize: Literal["int8"] | None = None,
) -> Runner:
    """The runner for steps of at most `rows` rows of at most `context` tokens.

    `kv_tokens` is the room for keys and values; by default what memory allows, at most `rows` full
    contexts. Backends with blocks of their own size take no `block_size`. `kernels="torch"` leaves
    the compiled kernels out.

    Raises:
        NotPackable: the model must take the generate engine.
        ConfigError: the compiled kernels do not compute this model in `quantize` here.
        EngineError: there is no memory for keys and values.
    """
    shapes = probe(model)
    room = _Room(shapes, rows=rows, context=context, tokens=kv_tokens, size=block_size)
    try:
        return _compiled(model, room, kernels, quantize)
    except NotCompiled as reason:
        if quantize:
            raise ConfigError(
                f"this model cannot be computed in {quantize} here: {reason}; start without "
                "PROMPTMILL_QUANTIZE"
            ) from None
        level = logging.WARNING if reason.fixable else logging.INFO
        log.log(level, "torch computes the steps: %s", reason)
    return _by_torch(model, room)


def _compiled(model: Any, room: _Room, kernels: str, quantize: Literal["int8"] | None) -> Runner:
    """The runner over compiled kernels. Raises NotCompiled."""
    library = library_for(model, room.shapes, kernels)
    forward = compiled_forward(model, room.shapes, library, quantize or "bf16")
    blocks = room.blocks(forward, native.SIZE)
    name = f"{library.name}+{quantize}" if quantize else library.name
    log.info("compiled kernels compute the steps: %s", name)
    return Runner(
        forward,
        native.Native(room.shapes, blocks=blocks, library=library),
        blocks=blocks,
        rows=room.rows,
        kernels=name,
        batch_invariant=isinstance(forward, CompiledForward),
        library=library,
    )


def _by_torch(model: Any, room: _Room) -> Runner:
    shapes = room.shapes
    packed = pack_weights(model, shapes)
    log.info("%d layers with keys and values, %d weights packed for the CPU", len(shapes), packed)
    forward = forward_of(model, shapes)
    device = forward.device
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what joining weights left behind would count as taken
    pages = pages_work(shapes, model.dtype, device)
    size = flash.PAGE if pages else room.size
    blocks = room.blocks(forward, size)
    kind: dict[str, Any] = {"dtype": forward.dtype, "device": device}
    attention: AttentionBackend
    if pages:
        context = min(room.context, blocks * size)
        attention = flash.Flash(shapes, blocks=blocks, context=context, **kind)
    else:
        attention = Gather(shapes, blocks=blocks, size=size, **kind)
    return Runner(forward, attention, blocks=blocks, rows=room.rows)


@dataclass(frozen=True)
class _Room:
    """What a runner is to hold."""

    shapes: dict[int, LayerShape]
    rows: int
    context: int
    tokens: int | None  # whose keys and values are kept
    size: int  # of a block, where the backend has none of its own

    def blocks(self, forward: Forward, size: int) -> int:
        """How many blocks of `size` positions there is room for."""
        tokens = self.tokens
        if tokens is None:
            most = self.rows * -(-self.context // size) * size
            per_token = bytes_per_token(self.shapes, forward.dtype)
            tokens = _kv_tokens(per_token, forward.device, most, size)
        return tokens // size


def pack_weights(model: Any, shapes: dict[int, LayerShape]) -> int:
    """Pack the weights of a model that passed `probe`, if it then computes what it did before;
    returns how many are packed."""
    forward, rows = ModulesForward(model), trial_rows(model.config.get_text_config())
    expected = packed_logits(forward, gathered(forward, shapes), rows)
    packed = 0

    def measure() -> float:
        nonlocal packed
        packed = pack(model)
        return difference(expected, packed_logits(forward, gathered(forward, shapes), rows))

    if not trusted("packed weights", "keeps its own", measure, tolerance(model)):
        unpack(model)
        return 0
    return packed - unpack(model, only_read=True)


def forward_of(model: Any, shapes: dict[int, LayerShape]) -> Forward:
    """The lean forward pass for models that have it, else the pass of the model's own modules."""
    modules = ModulesForward(model)
    try:
        lean = LlamaForward(model, shapes)
    except (
        ValueError,
        torch.OutOfMemoryError,
    ) as reason:  # joining weights takes memory for a moment
        log.info("running the model's own modules: %s", reason)
        return modules
    rows = trial_rows(model.config)

    def measure() -> float:
        expected = packed_logits(modules, gathered(modules, shapes), rows)
        return difference(expected, packed_logits(lean, gathered(lean, shapes), rows))

    if trusted("the lean forward pass", "runs its own modules", measure, tolerance(model)):
        return lean
    return modules


def pages_work(shapes: dict[int, LayerShape], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's paged attention kernel serves these layers here, and computes what plain
    arithmetic does."""
    if not flash.serves(shapes, dtype, device):
        return False

    def measure() -> float:
        found = [flash.parity(shape, dtype, device) for shape in set(shapes.values())]
        return float(np.max(found))  # which keeps a NaN

    what, instead = "torch's paged attention", "gathers keys and values"
    return trusted(what, instead, measure, ONE_OPERATION)


def _kv_tokens(per_token: int, device: torch.device, most: int, block: int) -> int:
    """Tokens whose keys and values fit: 85 % of what is free on a GPU, a quarter of the RAM up to 2
    GiB on a CPU.

    `most` are needed if every slot runs to the end of its context; fewer than a `block` are of no
    use.
    """
    if device.type == "cuda":
        memory = int(torch.cuda.mem_get_info(device)[0] * 0.85)
    else:
        # Of all of it, not of what is free: the context depends on it, and with the context the
        # model's digest, which must be the same whenever a worker starts.
        memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4, CPU_KV_BYTES)
    tokens = min(memory // per_token, most)
    if tokens < block:
        raise EngineError(
            f"{memory >> 20} MiB of free memory hold the keys and values of only {tokens} tokens"
        )
    return tokens
