"""Reads from a model's config, generation config and tokenizer: its context, the tokens that end a
text, and its chat template.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from common.errors import ConfigError, InvalidRequest

log = logging.getLogger(__name__)

UNSAID_CONTEXT = 512  # tokens, where neither config nor tokenizer say any
MOST_SAID = 10**9  # tokenizers that know no length say 10^30


def chat_template(
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


def context_length(config: Any, tokenizer_says: int, wanted: int | None) -> int:
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


def eos_ids(folder: Path, vocabulary: int, *parts: Any) -> frozenset[int]:
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
