"""Opens a model by its name: finds its files, chooses device, dtype and engine, and makes the model
card.

Torch is imported only for models with weights; the echo engine needs none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import ConfigError
from common.model_names import DEMO_MODEL, demo_folder, is_folder, own_name
from common.structured.guidance import Guide
from common.types import ModelCard
from worker.adapters import Adapter, read_adapters
from worker.devices import (
    DEFAULT_SLOTS,
    computes_compiled,
    device_name,
    pick_device,
    pick_dtype,
)
from worker.echo import EchoEngine
from worker.engine.protocol import Engine
from worker.engine.vllm.options import VllmOptions
from worker.model_defaults import model_defaults
from worker.model_features import OF_ENGINE, features, guide_of, params
from worker.model_files import fingerprints, inspect
from worker.model_parts import ModelParts
from worker.vllm_model import VllmHow, open_with_vllm

if TYPE_CHECKING:
    import torch

    from common.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# The files of a model that are downloaded: no pickles, and no code.
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class OpenedModel:
    """A model that is ready to start: the engine, what to publish about it, and its tokenizer."""

    engine: Engine
    card: ModelCard
    tokenizer: Tokenizer
    adapters: tuple[Adapter, ...] = ()  # each is served as a model of its own


def open_model(
    name: str,
    *,
    engine: Literal["auto", "native", "generate", "echo", "vllm"] = "auto",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    kernels: Literal["auto", "torch"] = "auto",
    quantize: Literal["int8"] | None = None,
    vllm: VllmOptions | None = None,
    slots: int | None = None,
    served_name: str | None = None,
    cache: Path = Path("~/.cache/promptmill"),
    echo_delay: float = 0.0,
    echo_fail_on: str | None = None,
    defaults: bool = True,
    context: int | None = None,
    adapters: Mapping[str, Path] | None = None,
) -> OpenedModel:
    """Open `name`: a hub id, a local folder, `smollm2-135m` (the demo model) or `echo`.

    `engine="native"` is continuous batching, for models that pass its check; `auto` takes
    `generate` for the others. With `defaults` the card has the model's own decoding parameters.
    `kernels="auto"` computes with the compiled kernels where there are any, which the first worker
    on a machine builds into the folder `cache`. `engine="vllm"` runs vLLM, as `vllm` says.
    `quantize` stores weights and activations in fewer bits, where compiled kernels do that.
    `adapters` are folders by the adapters' names, for the engines vllm and echo.
    `context` is in tokens, for models that name no length, or below the length they name.

    Raises:
        ConfigError: the model is not found, a file of it is wrong, or it cannot run as asked.
    """
    if name == "echo" or engine == "echo":
        return _open_echo(
            served_name or name,
            EchoEngine(slots=slots or 64, delay=echo_delay, fail_on=echo_fail_on),
            read_adapters(adapters or {}, None),
        )
    folder = find_model(name, cache)
    served = served_name or own_name(name)
    if engine == "vllm":
        how = VllmHow(vllm or VllmOptions(), device, dtype, slots, context)
        found = read_adapters(adapters or {}, folder)
        opened = OpenedModel(*open_with_vllm(folder, served, how, found), found)
    else:
        how_own = _How(engine, pick_device(device), dtype, kernels, quantize, slots, context, cache)
        opened = _open_folder(folder, served, how_own)
    opened.card.source = "" if is_folder(name) else name
    if defaults:
        opened.card.defaults = model_defaults(folder, opened.tokenizer, opened.engine.honours)
    return opened


def find_model(name: str, cache: Path) -> Path:
    """The local folder of a model, whose files are checked. A hub id is downloaded once, with
    safetensors only.

    Raises:
        ConfigError: the model is not found, or a file of it is wrong.
    """
    if name == DEMO_MODEL:
        folder = demo_folder(cache)
        if not (folder / "config.json").exists():
            raise ConfigError(
                f"the demo model is not in {folder}; run `promptmill model fetch-demo` once"
            )
    elif is_folder(name):
        folder = Path(name).expanduser().resolve()
    else:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(name, allow_patterns=FILES, ignore_patterns=["original/*"])
            )
        except Exception as error:  # the hub's client raises a dozen unrelated classes
            raise ConfigError(
                f"model {name!r} is no local folder, and could not be downloaded: {error}"
            ) from None
    inspect(folder)
    return folder


ECHO_TEMPLATE = "{{ messages | map(attribute='content') | join('\n') }}"


def _open_echo(name: str, engine: EchoEngine, adapters: tuple[Adapter, ...]) -> OpenedModel:
    from common.tokenizer import WordTokenizer, digest

    tokenizer = WordTokenizer()
    card = ModelCard(
        id=name,
        digest=digest("echo", str(engine.context), ECHO_TEMPLATE),
        engine="echo",
        device="cpu",
        dtype="none",
        context=engine.context,
        slots=engine.slots,
        tokenizer="words",
        chat_template=ECHO_TEMPLATE,
        reproducible=True,
        batch_invariant=True,
        features=OF_ENGINE["echo"],
        params=params(engine),
        created=int(time.time()),
    )
    return OpenedModel(engine, card, tokenizer, adapters)


@dataclass(frozen=True)
class _How:
    """How a model is to run, as the settings say."""

    engine: str
    device: torch.device
    dtype: str
    kernels: Literal["auto", "torch"]
    quantize: Literal["int8"] | None
    slots: int | None
    context: int | None
    cache: Path


def _open_folder(folder: Path, name: str, how: _How) -> OpenedModel:
    import torch

    from common.tokenizer import digest
    from worker.engine.kernels.library import load as load_kernels
    from worker.engine.model.weights import check_finite, load_weights

    dtype = pick_dtype(how.dtype, how.device)
    if how.kernels == "auto" and computes_compiled(how.engine, how.device, dtype):
        load_kernels(how.cache)  # now, and for the process: building takes time
    parts = ModelParts.read(folder, name, how.context)
    slots = how.slots or DEFAULT_SLOTS.get(how.device.type, 32)
    model = load_weights(folder, parts.config, dtype).to(how.device)
    check_finite(model, folder)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    guide = guide_of(name, parts.tokenizer, vocabulary)
    kind, engine = _engine_of(model, parts, name, how, slots, guide)
    card = ModelCard(
        id=name,
        digest=digest(
            *fingerprints(folder),
            parts.tokenizer.dumps(),
            parts.template or "",
            str(engine.context),
            str(dtype),
            *([how.quantize] if how.quantize else []),
            # What was submitted for the other engine may ask for what this one does not honour.
            *([kind] if kind == "generate" else []),
        ),
        engine=kind,
        device=device_name(how.device),
        dtype=str(dtype).removeprefix("torch."),
        context=engine.context,
        slots=slots,
        tokenizer="json",
        chat_template=parts.template,
        vocabulary=vocabulary,
        reproducible=dtype == torch.float32 or engine.batch_invariant,
        kernels=engine.kernels,
        batch_invariant=engine.batch_invariant,
        quantization=how.quantize,
        special_tokens=parts.special_tokens,
        features=features(kind, parts.tokenizer, parts.template, guide),
        params=params(engine),
        created=int(time.time()),
    )
    return OpenedModel(engine, card, parts.tokenizer)


def _engine_of(
    model: Any, parts: ModelParts, name: str, how: _How, slots: int, guide: Guide | None
) -> tuple[str, Engine]:
    """The engine that runs `model`, and its name on the card.

    Raises:
        ConfigError: the model cannot run as asked.
    """
    from worker.engine.batching import BatchingEngine
    from worker.engine.generate import GenerateEngine
    from worker.engine.model.packable import NotPackable

    tokenizer, context = parts.tokenizer, parts.context
    if how.engine != "generate":
        try:
            return "native", BatchingEngine(
                model,
                tokenizer,
                slots=slots,
                context=context,
                guide=guide,
                kernels=how.kernels,
                quantize=how.quantize,
            )
        except NotPackable as reason:
            if how.engine == "native":
                raise ConfigError(
                    f"{name} cannot run with continuous batching (engine native): {reason}; use "
                    "the generate engine"
                ) from None
            log.warning("%s runs on the generate engine, which is slower: %s", name, reason)
    if how.quantize:
        raise ConfigError(
            f"{name} runs on the generate engine, which does not compute in {how.quantize}; start "
            "without PROMPTMILL_QUANTIZE"
        )
    return "generate", GenerateEngine(model, tokenizer, slots=slots, context=context, guide=guide)
