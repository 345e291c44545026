"""The folder of a tiny random model that writes JSON and thinks, as a hub would hold it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.tokenizers import END, for_json

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n"


def tiny_folder(folder: Path, model: Any) -> Path:
    """Save `model` with the tokenizer `for_json` and a template whose chats begin in thoughts."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder)
    backend = Tokenizer.from_str(for_json().dumps().decode())
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    (end,) = for_json().eos_ids
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    return folder
