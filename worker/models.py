"""Opens a model by name: finds its files, picks device and dtype, chooses the engine, writes the
model card.

Torch is imported only for engines with a model; `echo` needs none.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import ConfigError, InvalidRequest
from common.model_names import is_folder, own_name
from common.types import ModelCard
from worker.echo import EchoEngine
from worker.engine.protocol import Engine
from worker.model_defaults import model_defaults
from worker.model_files import fingerprints, inspect

if TYPE_CHECKING:
    import torch

    from common.tokenizer import Tokenizer

log = logging.getLogger(__name__)

DEMO_MODEL = "smollm2-135m"
UNSAID_CONTEXT = 512  # tokens, where neither config nor tokenizer say any
MOST_SAID = 10**9  # tokenizers that know no length say 10^30
DEFAULT_SLOTS = {"cpu": 32, "cuda": 256}
# What a model needs; never pickles, never code.
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class OpenedModel:
    """A model that is ready to start: the engine, what to publish about it, and its tokenizer."""

    engine: Engine
    card: ModelCard
    tokenizer: Tokenizer


def open_model(
    name: str,
    *,
    engine: Literal["auto", "native", "generate", "echo"] = "auto",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    slots: int | None = None,
    served_name: str | None = None,
    cache: Path = Path("~/.cache/promptmill"),
    echo_delay: float = 0.0,
    echo_fail_on: str | None = None,
    defaults: bool = True,
    context: int | None = None,
) -> OpenedModel:
    """Open `name`: a hub id, a local folder, `smollm2-135m` (the demo model) or `echo`.

    `engine="native"` is continuous batching, for models that pass its check; `auto` falls back on
    `generate`. With `defaults` the card has the model's own sampling params. `context` is in
    tokens: for models that do not say theirs, or to allow less than they say.

    Raises:
        ConfigError: the model cannot be found, something in its folder is wrong, or it cannot be
        run as asked.
    """
    if name == "echo" or engine == "echo":
        return _open_echo(
            served_name or name,
            EchoEngine(slots=slots or 64, delay=echo_delay, fail_on=echo_fail_on),
        )
    folder = find_model(name, cache)
    opened = _open_folder(
        folder, served_name or own_name(name), engine, device, dtype, slots, context
    )
    if defaults:
        opened.card.defaults = model_defaults(folder, opened.tokenizer)
    return opened


def find_model(name: str, cache: Path) -> Path:
    """The local folder of a model, its files inspected; a hub id is downloaded once, safetensors
    only."""
    if name == DEMO_MODEL:
        folder = cache.expanduser() / "models" / DEMO_MODEL
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
        except Exception as error:  # the hub client raises a dozen unrelated classes
            raise ConfigError(
                f"model {name!r} is no local folder and could not be fetched: {error}"
            ) from None
    inspect(folder)
    return folder


ECHO_TEMPLATE = "{{ messages | map(attribute='content') | join('\n') }}"


def _open_echo(name: str, engine: EchoEngine) -> OpenedModel:
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
        created=int(time.time()),
    )
    return OpenedModel(engine, card, tokenizer)


def _open_folder(
    folder: Path,
    name: str,
    wanted: str,
    device_name: str,
    dtype_name: str,
    slots: int | None,
    wanted_context: int | None,
) -> OpenedModel:
    import torch

    from common.tokenizer import JsonTokenizer, digest
    from worker.engine.batching import BatchingEngine
    from worker.engine.generate import GenerateEngine
    from worker.engine.model.packable import NotPackable
    from worker.engine.model.weights import (
        check_finite,
        load_config,
        load_generation_config,
        load_tokenizer,
        load_weights,
    )

    device = pick_device(device_name)
    dtype = pick_dtype(dtype_name, device)
    config = load_config(folder)
    fast = load_tokenizer(folder)
    context = _context(config, fast.model_max_length, wanted_context)
    slots = slots or DEFAULT_SLOTS.get(device.type, 32)
    generation = load_generation_config(folder, config)
    text = config.get_text_config(decoder=True)
    eos_ids = _eos_ids(folder, text.vocab_size, generation, config, text, fast)
    tokenizer = JsonTokenizer(fast.backend_tokenizer.to_str().encode(), eos_ids)
    special_tokens = {
        key: str(token) for key, token in fast.special_tokens_map.items() if isinstance(token, str)
    }
    template = _chat_template(name, fast.chat_template, special_tokens)

    model = load_weights(folder, config, dtype).to(device)
    check_finite(model, folder)
    running: Engine | None = None
    if wanted != "generate":
        try:
            running = BatchingEngine(model, tokenizer, slots=slots, context=context)
        except NotPackable as reason:
            if wanted == "native":
                message = (
                    f"{name} cannot run with continuous batching (engine native): {reason}; take "
                    "the generate engine"
                )
                raise ConfigError(message) from None
            log.warning("%s takes the generate engine, which is slower: %s", name, reason)
    kind = "native" if running else "generate"
    engine = running or GenerateEngine(model, tokenizer, slots=slots, context=context)
    card = ModelCard(
        id=name,
        digest=digest(
            *fingerprints(folder),
            tokenizer.dumps(),
            template or "",
            str(engine.context),
            str(dtype),
        ),
        engine=kind,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        dtype=str(dtype).removeprefix("torch."),
        context=engine.context,
        slots=slots,
        tokenizer="json",
        chat_template=template,
        vocabulary=model.config.get_text_config(decoder=True).vocab_size,
        reproducible=dtype == torch.float32,
        special_tokens=special_tokens,
        created=int(time.time()),
    )
    return OpenedModel(engine, card, tokenizer)


def pick_device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA device")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype asked for; `auto` is bfloat16 where the hardware multiplies it natively, else
    float32."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        native, why = major >= 8, f"compute capability {major}.x"
    else:
        capabilities = torch.cpu.get_capabilities()
        found = [
            flag
            for flag in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")
            if capabilities.get(flag)
        ]
        native, why = (
            bool(found),
            f"the CPU has {found[0]}" if found else "the CPU has no bfloat16 instructions",
        )
    dtype = torch.bfloat16 if native else torch.float32
    log.info("dtype %s: %s", str(dtype).removeprefix("torch."), why)
    return dtype


def _chat_template(
    name: str, found: str | dict[str, str] | None, special_tokens: dict[str, str]
) -> str | None:
    """The template that transformers takes where no tools are given: of several by name, `default`.

    Raises:
        ConfigError: it cannot be read, or never ends.
    """
    from common.chat_template import ChatTemplate

    if isinstance(found, dict):
        if "default" not in found:
            names = ", ".join(sorted(found))
            log.warning(
                "%s is served without a chat template: it has %s, and none called default",
                name,
                names,
            )
        found = found.get("default")
    if found:
        try:
            ChatTemplate(found, special_tokens).check()
        except InvalidRequest as error:
            raise ConfigError(
                f"{name} cannot be served with its chat template: {error.message}"
            ) from None
    return found


def _context(config: Any, tokenizer_says: int, wanted: int | None) -> int:
    """Tokens a sequence may have: what the setting says, within what the model's config does; else
    what that says, or its tokenizer.

    Raises:
        ConfigError: the setting is more than the config says, or what that says is no length.
    """
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    name, said = next(
        ((name, length) for name in names if (length := getattr(text, name, None))), ("", None)
    )
    if said is not None and (not isinstance(said, int) or said < 2):
        raise ConfigError(
            f"the model's config.json has {name} {said!r}, which is no number of tokens; mend it"
        )
    if wanted and said and wanted > said:
        raise ConfigError(
            f"PROMPTMILL_CONTEXT is {wanted}, but the model's config.json says {said}; it may be "
            "less"
        )
    return wanted or said or (tokenizer_says if tokenizer_says < MOST_SAID else UNSAID_CONTEXT)


def _eos_ids(folder: Path, vocabulary: int, *parts: Any) -> frozenset[int]:
    """The first part that names end tokens decides.

    Raises:
        ConfigError: none of those that it names is a token of the model: nothing would end a text.
    """
    found: Any = next(
        (ids for part in parts if (ids := getattr(part, "eos_token_id", None)) is not None), []
    )
    named = found if isinstance(found, list) else [found]
    known = frozenset(each for each in named if isinstance(each, int) and 0 <= each < vocabulary)
    if named and not known:
        raise ConfigError(
            f"generation_config.json or config.json in {folder} has eos_token_id {found!r}, which "
            "is no token id below "
            f"{vocabulary}; mend it"
        )
    return known
