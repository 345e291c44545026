"""Opens a model with vLLM: its files are checked as for other engines, its weights are vLLM's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError
from common.tokenizer import digest
from common.types import ModelCard
from worker.engine.vllm.library import vllm_device, vllm_version
from worker.engine.vllm.options import VllmOptions
from worker.model_features import features, guide_of, params
from worker.model_files import fingerprints
from worker.model_parts import ModelParts

if TYPE_CHECKING:
    from worker.engine.vllm.engine import VllmEngine

SLOTS = {"cpu": 32, "cuda": 256}
# Arguments of vLLM that change the texts, as its version and the dtype do.
ROUNDING = ("kv_cache_dtype",)


def open_with_vllm(
    folder: Path,
    name: str,
    options: VllmOptions,
    *,
    device: str,
    dtype: str,
    slots: int | None,
    context: int | None,
) -> tuple[VllmEngine, ModelCard, Any]:
    """The engine, the card and the tokenizer of the model in `folder`.

    Raises:
        ConfigError: vLLM is not there, or cannot run the model as asked.
    """
    version = vllm_version()
    _check_device(device)
    from worker.engine.vllm.engine import VllmEngine

    parts = ModelParts.read(folder, name, context, any_quantisation=True)
    if parts.config.is_encoder_decoder:
        raise ConfigError(f"{name} is an encoder-decoder model; use the generate engine")
    vocabulary = parts.config.get_text_config(decoder=True).vocab_size
    guide = guide_of(name, parts.tokenizer, vocabulary)
    slots = slots or SLOTS[vllm_device()]
    engine = VllmEngine(
        folder,
        parts.tokenizer,
        options,
        slots=slots,
        context=parts.context,
        vocabulary=vocabulary,
        dtype=_dtype(dtype, parts.config),
        guide=guide,
    )
    quantization = engine.quantization
    card = ModelCard(
        id=name,
        digest=digest(
            *fingerprints(folder),
            parts.tokenizer.dumps(),
            parts.template or "",
            str(engine.context),
            f"vllm {version} {engine.dtype} {quantization or ''}",
            *(f"{each} {options.args[each]}" for each in ROUNDING if each in options.args),
        ),
        engine="vllm",
        device=engine.device_name,
        dtype=engine.dtype,
        context=engine.context,
        slots=slots,
        tokenizer="json",
        chat_template=parts.template,
        vocabulary=vocabulary,
        reproducible=False,
        kernels=engine.kernels,
        quantization=quantization,
        special_tokens=parts.special_tokens,
        features=features("vllm", parts.tokenizer, parts.template, guide),
        params=params(engine),
        created=int(time.time()),
    )
    return engine, card, parts.tokenizer


def _check_device(wanted: str) -> None:
    there = vllm_device()
    if there not in SLOTS:
        raise ConfigError(f"this vLLM computes on {there}; engine vllm runs on cpu and cuda")
    if wanted not in ("auto", there):
        raise ConfigError(
            f"PROMPTMILL_DEVICE={wanted}, but this vLLM computes on {there}; leave it out, or "
            "install vLLM for that device (docs/vllm.md)"
        )


def _dtype(wanted: str, config: Any) -> str:
    """As `worker.models.pick_dtype` has it; quantised checkpoints have a dtype that goes with their
    kernels."""
    import torch

    from worker.models import pick_dtype

    if wanted != "auto" or getattr(config, "quantization_config", None):
        return wanted
    return str(pick_dtype("auto", torch.device(vllm_device()))).removeprefix("torch.")
