"""Writes a tokenizer's file anew for llguidance, so that no text is taken for a control token.

Where only one text can follow, llguidance asks the tokenizer for its tokens. A tokenizer reads
`<|im_end|>` as the control token, and never as the text that is meant.
"""

from __future__ import annotations

import json
import secrets
from typing import Any


def without_control_texts(tokenizer_json: bytes) -> str:
    """The file with another name for each special token: one that nobody can know, so that it is
    in no text. Their ids stay as they are."""
    file = json.loads(tokenizer_json)
    secret = secrets.token_hex(16)
    names: dict[str, str] = {}
    for token in file.get("added_tokens", ()):
        if token["special"]:
            name = f"<{secret}-{token['id']}>"
            names[token["content"]] = name
            token["content"] = name
    model = file["model"]
    if isinstance(vocabulary := model.get("vocab"), dict):
        model["vocab"] = {names.get(name, name): place for name, place in vocabulary.items()}
    elif isinstance(vocabulary, list):  # Unigram's: names with their weights
        model["vocab"] = [_renamed(entry, names) for entry in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    return json.dumps(file, ensure_ascii=False)


def _renamed(entry: list[Any], names: dict[str, str]) -> list[Any]:
    return [names.get(entry[0], entry[0]), *entry[1:]]
