"""A model's own decoding settings, as its generation_config.json has them, in the names that jobs
use.

They are the defaults of the model's jobs where a job says nothing. What has no counterpart here is
named in the log.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.errors import ConfigError
from common.params import SamplingParams
from common.tokenizer import Tokenizer

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
BANNED = -100.0  # what a logit_bias may take off at most: such a token is never drawn
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


def model_defaults(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """Sampling params that the model's makers chose; empty where its folder says none.

    Raises:
        ConfigError: generation_config.json is no JSON object, or a value in it is none that a job
        may have.
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
    if ignored:
        log.warning(
            "%s asks for what jobs have no setting for, so it is not done: %s",
            file,
            ", ".join(ignored),
        )
    return _checked(file, found)


def _bans(config: dict[str, Any], tokenizer: Tokenizer) -> tuple[list[int], list[str], bool]:
    """Tokens that never come, words that never come, and whether there are some that no word stands
    for."""
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
    """Whole numbers are written as fractions here and there."""
    return (
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) > 1 else value
    )


def _checked(file: Path, found: dict[str, Any]) -> dict[str, Any]:
    try:
        return SamplingParams.model_validate(found).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{file} has a value for {where} that no job may have ({first['msg']}); mend it, or "
            "set "
            "PROMPTMILL_MODEL_DEFAULTS=off"
        ) from None
