"""Loads a model's config, tokenizer and weights, and verifies them.

`from_pretrained` fills weights that a checkpoint lacks with random numbers and drops those it does
not know, with a warning. Here both are errors that name the weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.models.auto import modeling_auto
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from common.errors import ConfigError

log = logging.getLogger(__name__)

SHOWN = 3  # names in a message
HEADS = (
    "SequenceClassification",
    "TokenClassification",
    "QuestionAnswering",
    "MultipleChoice",
    "MaskedLM",
)
# Buffers that old checkpoints contain; today they are computed.
COMPUTED = re.compile(
    r"(^|\.)(rotary_emb\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias|position_ids)$"
)
# Passed to every load. Without it, transformers asks on the terminal whether to run the Python
# files in a model's folder.
OWN_CODE: dict[str, Any] = {"trust_remote_code": False}


def load_config(folder: Path, *, any_quantisation: bool = False) -> Any:
    """The config of a language model; with `any_quantisation` also of one whose weights others
    load.

    Raises:
        ConfigError: transformers does not know its type or quantisation, or it is no model that
        generates text.
    """
    file = folder / "config.json"
    try:
        config = AutoConfig.from_pretrained(folder, **OWN_CODE)
    except Exception as error:
        # A KeyError, a library's own error or another, depending on what is wrong in the file.
        raise ConfigError(f"{file} cannot be used: {_first_sentence(error)}") from None
    method = _quantisation(config)
    if method and not any_quantisation and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise ConfigError(
            f"{file} names the quantisation {method!r}, which is not known; take another version "
            "of it"
        )
    if why := _cannot_write(config):
        raise ConfigError(f"{file} is of {why}; choose a causal language model")
    return config


def load_tokenizer(folder: Path) -> Any:
    """The model's fast tokenizer.

    Raises:
        ConfigError: it is missing or broken, or not a fast tokenizer.
    """
    file = folder / "tokenizer.json"
    needs = (
        f"{folder} needs a tokenizer.json; save one with "
        "`AutoTokenizer.from_pretrained(...).save_pretrained(...)`"
    )
    if not file.exists():
        log.info("%s has no tokenizer.json; converting what it has", folder)
    try:
        fast = AutoTokenizer.from_pretrained(folder, **OWN_CODE)
    except Exception as error:  # a missing converter's ImportError, a parser's own
        why = _first_sentence(error)
        if file.exists():
            raise ConfigError(
                f"{file} or a file beside it cannot be read ({why}); download them again"
            ) from None
        raise ConfigError(f"{needs}; what is there cannot be converted ({why})") from None
    if not fast.is_fast:
        raise ConfigError(f"{needs}; counting tokens needs it")
    return fast


def load_generation_config(folder: Path, config: Any) -> Any:
    """The generation config saved with the model, else one made from its config.

    Raises:
        ConfigError: it cannot be read.
    """
    file = folder / "generation_config.json"
    try:
        return (
            GenerationConfig.from_pretrained(folder)
            if file.exists()
            else GenerationConfig.from_model_config(config)
        )
    except Exception as error:
        raise ConfigError(f"{file} cannot be used: {_first_sentence(error)}") from None


def load_weights(folder: Path, config: Any, dtype: torch.dtype) -> Any:
    """The model in evaluation mode, on the CPU, with all its weights from the folder.

    Raises:
        ConfigError: weights are missing, unexpected, of another shape or unreadable.
    """
    transformers.logging.set_verbosity_error()  # it would log a table of what we report below
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    try:
        model, told = kind.from_pretrained(
            folder,
            **OWN_CODE,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            # Reported, and refused below; otherwise only the first mismatch would be raised.
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # a quantiser's ImportError, a loader's OSError, a kernel's own
        method = _quantisation(config)
        what = f"the weights in {folder}" + (f", quantised by {method}," if method else "")
        raise ConfigError(f"{what} cannot be loaded: {_first_sentence(error)}") from None
    unexpected = [name for name in told["unexpected_keys"] if not COMPUTED.search(name)]
    mismatched = [name if isinstance(name, str) else name[0] for name in told["mismatched_keys"]]
    _refuse(folder, mismatched, "have another shape than config.json says")
    _refuse(folder, told["missing_keys"], "are missing, and would be random")
    _refuse(
        folder, unexpected, f"have no place in {type(model).__name__} as config.json describes it"
    )
    if told.get("error_msgs"):
        raise ConfigError(
            f"the weights in {folder} cannot be loaded: {_first_sentence(told['error_msgs'][0])}"
        )
    return model.eval()


def check_finite(model: Any, folder: Path) -> None:
    """Check that all weights, and the logits of one step on a few tokens, are finite.

    Raises:
        ConfigError: they are not, or the step fails.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    remedy = "download them again" + (
        "" if model.dtype == torch.float32 else ", or set PROMPTMILL_DTYPE=float32"
    )
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ConfigError(
                f"{name} of the weights in {folder} has NaN or infinity in {dtype}; {remedy}"
            )
    width = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.arange(1, 6, device=next(model.parameters()).device)[None] % width
    inputs = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    try:
        with torch.inference_mode():
            logits = model(input_ids=ids, **inputs, use_cache=False).logits
    except Exception as error:
        raise ConfigError(
            f"a first step of the model in {folder} fails: {_first_sentence(error)}"
        ) from error
    if logits.isnan().any() or logits.isposinf().any():
        raise ConfigError(f"the weights in {folder} give NaN or infinity in {dtype}; {remedy}")


def _refuse(folder: Path, names: Collection[str], what: str) -> None:
    if names:
        shown = ", ".join(sorted(names)[:SHOWN]) + (
            f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        )
        raise ConfigError(
            f"weights in {folder} {what}: {shown}; take a complete checkpoint of this model"
        )


def _quantisation(config: Any) -> str | None:
    found = getattr(config, "quantization_config", None) or {}
    if not isinstance(found, dict):
        found = found.to_dict()
    if found.get("load_in_8bit"):
        return "bitsandbytes_8bit"
    method = found.get("quant_method")
    method = getattr(method, "value", method)
    return "bitsandbytes_4bit" if found.get("load_in_4bit") or method == "bitsandbytes" else method


def _cannot_write(config: Any) -> str | None:
    """What else than a language model a config describes, and why it cannot generate text; None if
    it is a language model."""
    for name in config.architectures or []:
        if any(name.endswith(f"For{head}") for head in HEADS):
            return f"a {name}, which cannot write text"
    if config.is_encoder_decoder:
        known = config.model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
        return (
            None
            if known
            else (
                f"the type {config.model_type!r}, which transformers opens as no text-to-text model"
            )
        )
    if config.model_type not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return (
            f"the type {config.model_type!r}, which transformers opens as no language model by "
            "itself"
        )
    # Encoders can generate if their config says so.
    encodes = {*modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "bert-generation"}
    if config.model_type in encodes and not (
        getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    ):
        return f"the encoder-only type {config.model_type!r}, which cannot write text"
    return None


def _first_sentence(error: object) -> str:
    """The beginning of a library's error message, in one line."""
    words = " ".join(str(error).split())
    # A KeyError's message is the key alone.
    if isinstance(error, Exception) and " " not in words:
        words = f"{type(error).__name__}: {words}"
    return words[:300].rstrip(".:")
