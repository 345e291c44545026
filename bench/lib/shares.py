"""What a run used of the machine's products and of its memory, from a model's size and seconds.

Useful work is what the weights are multiplied for: attention and what rows share are not counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from bench.lib.mixes import Mix


@dataclass(frozen=True)
class Size:
    """Parameters of a model: of its `layers`, and of its `head`, which a prompt's tokens do not
    need. The table of embeddings is only looked up, so it is part of neither unless it is the head
    too."""

    layers: int
    head: int

    def useful_flops(self, mix: Mix) -> float:
        """Prompt tokens through the layers, generated ones through layers and head."""
        return 2.0 * (mix.prompt_tokens * self.layers + mix.generated * (self.layers + self.head))

    def bytes_read(self, mix: Mix, itemsize: int) -> float:
        """By a row alone: all weights for each of its tokens."""
        return float(mix.new_tokens * itemsize * (self.layers + self.head))


def size_of(folder: Path) -> Size:
    """Of the model in `folder`, whose embeddings are tied to its head or not."""
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text())
    head = config["vocab_size"] * config["hidden_size"]
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping, it only has keys()
                total += prod(weights.get_slice(name).get_shape())
    tables = head if config.get("tie_word_embeddings", False) else 2 * head
    return Size(total - tables, head)
