"""The card of a model, as a worker publishes it."""

from __future__ import annotations

from typing import Any

from common.types import ModelCard


def card(name: str = "echo", **fields: Any) -> ModelCard:
    """A model whose tokens are words."""
    about = {
        "id": name,
        "digest": f"digest-{name}",
        "engine": "echo",
        "device": "cpu",
        "dtype": "none",
        "context": 100,
        "slots": 8,
        "tokenizer": "words",
        "created": 1_700_000_000,
    }
    return ModelCard.model_validate(about | fields)
