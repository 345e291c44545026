"""Reads a model's decoding parameters from its generation_config.json, by the names of `params`.

They are the defaults of its jobs. Parameters that promptmill does not have are named in the log.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.errors import ConfigError
from common.params import CELLS, SamplingParams, is_neutral
from common.tokenizer import Tokenizer
from common.types import JsonObject

log = logging.getLogger(__name__)

SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
ALL = frozenset(CELLS)
BANNED = -100.0  # the lowest logit_bias: a token with it is never drawn
NOT_HONOURED = (
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "num_beams",
    "penalty_alpha",
    "min_length",
    "min_new_tokens",
    "sequence_bias",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "guidance_scale",
)


def model_defaults(folder: Path, tokenizer: Tokenizer, honours: frozenset[str] = ALL) -> JsonObject:
    """Decoding parameters that the model's authors chose, of those that the engine `honours`; empty
    if the folder has none.

    Raises:
        ConfigError: generation_config.json is no JSON object, or a job may not have its values.
    """
    file = folder / "generation_config.json"
    if not file.exists():
        return {}
    try:
        config = json.loads(file.read_bytes())
        found = {name: _number(config[name]) for name in SAME if config.get(name) is not None}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no JSON object of settings ({error}); download it again"
        ) from None
    if config.get("do_sample") is False and "temperature" not in found:
        found = {"temperature": 0.0} | found
    ignored = [name for name in NOT_HONOURED if config.get(name) not in (None, 0, 1, [], False)]
    single, words, odd = _bans(config, tokenizer)
    if single:
        found["logit_bias"] = dict.fromkeys(map(str, single), BANNED)
    if words:
        found["bad_words"] = words
    if odd:
        ignored.append("bad_words_ids")
    for name in sorted(found.keys() - honours):
        value = found.pop(name)
        ignored += [] if is_neutral(name, value) else [f"{name} (the engine has none)"]
    if ignored:
        log.warning(
            "%s has decoding parameters that are not supported, and they are ignored: %s",
            file,
            ", ".join(ignored),
        )
    return _checked(file, found)


def _bans(config: JsonObject, tokenizer: Tokenizer) -> tuple[list[int], list[str], bool]:
    """Tokens that must not be generated, words that must not, and whether there are sequences of
    tokens that are no word."""
    sequences = config.get("bad_words_ids") or []
    single = {
        *(config.get("suppress_tokens") or []),
        *(ids[0] for ids in sequences if len(ids) == 1),
    }
    longer = [ids for ids in sequences if len(ids) > 1]
    words = [
        word
        for ids in longer
        if tokenizer.encode(word := tokenizer.decode(ids).strip(), special=False) == ids
    ]
    return sorted(single - {-1}), words, len(words) < len(longer)


def _number(value: Any) -> Any:
    """A whole number as int: some files write it as a fraction."""
    return (
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) > 1 else value
    )


def _checked(file: Path, found: JsonObject) -> JsonObject:
    try:
        return SamplingParams.model_validate(found).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{file} has a value for {where} that no job may have ({first['msg']}); correct it, or "
            "set PROMPTMILL_MODEL_DEFAULTS=off"
        ) from None
