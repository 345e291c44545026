"""Reads a model's context length, end tokens and chat template from its config and tokenizer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from common.errors import ConfigError, InvalidRequest

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 512  # tokens, if neither config nor tokenizer names a length
NO_LENGTH = 10**9  # tokenizers without a length name 10^30


def chat_template(
    name: str, found: str | dict[str, str] | None, special_tokens: dict[str, str]
) -> str | None:
    """The template that transformers uses without tools: the one named `default`, if there are
    several.

    Raises:
        ConfigError: it cannot be read, or does not end.
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


def context_length(config: Any, tokenizer_length: int, wanted: int | None) -> int:
    """Most tokens of a sequence: the setting `wanted`, else the length in the model's config, else
    the tokenizer's.

    Raises:
        ConfigError: the setting is above the length in the config, or that is no number of tokens.
    """
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    name, length = next(
        ((name, value) for name in names if (value := getattr(text, name, None))), ("", None)
    )
    if length is not None and (not isinstance(length, int) or length < 2):
        raise ConfigError(
            f"the model's config.json has {name} {length!r}, which is no number of tokens"
        )
    if wanted and length and wanted > length:
        raise ConfigError(
            f"PROMPTMILL_CONTEXT is {wanted}, but the model's config.json says {length}; it cannot "
            "be more"
        )
    return (
        wanted or length or (tokenizer_length if tokenizer_length < NO_LENGTH else DEFAULT_CONTEXT)
    )


def eos_ids(folder: Path, vocabulary: int, *parts: Any) -> frozenset[int]:
    """The end tokens named by the first of `parts` that names any.

    Raises:
        ConfigError: none of them is a token of the model, so nothing would end a text.
    """
    found: Any = next(
        (ids for part in parts if (ids := getattr(part, "eos_token_id", None)) is not None), []
    )
    named = found if isinstance(found, list) else [found]
    known = frozenset(each for each in named if isinstance(each, int) and 0 <= each < vocabulary)
    if named and not known:
        raise ConfigError(
            f"generation_config.json or config.json in {folder} has eos_token_id {found!r}, which "
            f"is no token id below {vocabulary}; correct it"
        )
    return known
