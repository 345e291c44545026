"""Opens a model with vLLM: its files are checked as for other engines, its weights are vLLM's."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError
from common.tokenizer import digest
from common.types import ModelCard
from worker.adapters import Adapter
from worker.devices import DEFAULT_SLOTS, pick_dtype
from worker.engine.vllm.library import vllm_device, vllm_version
from worker.engine.vllm.lora import Lora
from worker.engine.vllm.options import VllmOptions
from worker.model_features import features, guide_of, params
from worker.model_files import fingerprints, read_json
from worker.model_parts import ModelParts

if TYPE_CHECKING:
    from common.tokenizer import JsonTokenizer
    from worker.engine.vllm.engine import VllmEngine

# Arguments of vLLM that change the texts, as its version and the dtype do.
ROUNDING = ("kv_cache_dtype",)


@dataclass(frozen=True)
class VllmHow:
    """How a model is to run on vLLM, as the settings say."""

    options: VllmOptions
    device: str
    dtype: str
    slots: int | None
    context: int | None


def open_with_vllm(
    folder: Path, name: str, how: VllmHow, adapters: tuple[Adapter, ...]
) -> tuple[VllmEngine, ModelCard, JsonTokenizer]:
    """The engine, the card and the tokenizer of the model in `folder`. The engine has loaded the
    adapters.

    Raises:
        ConfigError: vLLM is not there, or cannot run the model as asked.
    """
    vllm_version()
    _check_device(how.device)
    check_heads(folder, how.options.tensor_parallel)
    from worker.engine.vllm.engine import VllmEngine

    parts = ModelParts.read(folder, name, how.context, any_quantisation=True)
    if parts.config.is_encoder_decoder:
        raise ConfigError(f"{name} is an encoder-decoder model; use the generate engine")
    vocabulary = parts.config.get_text_config(decoder=True).vocab_size
    guide = guide_of(name, parts.tokenizer, vocabulary)
    engine = VllmEngine(
        folder,
        parts.tokenizer,
        replace(how.options, loras=tuple(map(_lora, adapters))),
        slots=how.slots or DEFAULT_SLOTS[vllm_device()],
        context=parts.context,
        vocabulary=vocabulary,
        dtype=_dtype(how, parts.config),
        guide=guide,
    )
    _refuse_changed(adapters)
    card = ModelCard(
        id=name,
        digest=_digest(folder, parts, how.options, engine),
        engine="vllm",
        device=engine.device_name,
        dtype=engine.dtype,
        context=engine.context,
        slots=engine.slots,
        tokenizer="json",
        chat_template=parts.template,
        vocabulary=vocabulary,
        reproducible=False,
        kernels=engine.kernels,
        quantization=engine.quantization,
        special_tokens=parts.special_tokens,
        features=features("vllm", parts.tokenizer, parts.template, guide),
        params=params(engine),
        created=int(time.time()),
    )
    return engine, card, parts.tokenizer


def check_heads(folder: Path, tensor_parallel: int) -> None:
    """Whether so many GPUs can divide the attention heads of the model in `folder` among them.

    Raises:
        ConfigError: they cannot.
    """
    config = read_json(folder / "config.json")
    heads = (config.get("text_config") or config).get("num_attention_heads")
    if isinstance(heads, int) and heads % tensor_parallel:
        raise ConfigError(
            f"{folder} has {heads} attention heads, which PROMPTMILL_TENSOR_PARALLEL="
            f"{tensor_parallel} does not divide; set it to a number that does"
        )


def _lora(adapter: Adapter) -> Lora:
    return Lora(adapter.name, adapter.folder, adapter.digest, adapter.rank)


def _refuse_changed(adapters: tuple[Adapter, ...]) -> None:
    """What was loaded must be what was checked."""
    if changed := next((each for each in adapters if each.has_changed()), None):
        raise ConfigError(f"the files in {changed.folder} changed while they were loaded")


def _digest(folder: Path, parts: ModelParts, options: VllmOptions, engine: VllmEngine) -> str:
    """A hash of all that decides about the texts: a job that was begun with it is not gone on with
    by another engine, or another version of vLLM."""
    return digest(
        *fingerprints(folder),
        parts.tokenizer.dumps(),
        parts.template or "",
        str(engine.context),
        f"vllm {vllm_version()} {engine.dtype} {engine.quantization or ''}",
        *(f"{name} {given}" for name, given in options.args.items() if _rounds(name, given)),
    )


def _rounds(name: str, given: object) -> bool:
    """Whether an argument changes texts; `auto` is what vLLM does without it."""
    return name in ROUNDING and given != "auto"


def _check_device(wanted: str) -> None:
    there = vllm_device()
    if there not in DEFAULT_SLOTS:
        raise ConfigError(f"this vLLM computes on {there}; engine vllm runs on cpu and cuda")
    if wanted not in ("auto", there):
        raise ConfigError(
            f"PROMPTMILL_DEVICE={wanted}, but this vLLM computes on {there}; leave it out, or "
            "install vLLM for that device (docs/vllm.md)"
        )


def _dtype(how: VllmHow, config: Any) -> str:
    """As `pick_dtype` has it; quantised checkpoints have a dtype that goes with their
    kernels."""
    import torch

    is_quantised = how.options.quantization or getattr(config, "quantization_config", None)
    if how.dtype != "auto" or is_quantised:
        return how.dtype
    return str(pick_dtype("auto", torch.device(vllm_device()))).removeprefix("torch.")
