"""What `promptmill models` says of a model."""

from __future__ import annotations

from typing import Any

from cli.models import about
from tests.support.cards import card
from tests.support.lacking import lacking


def lines(found: Any, workers: int = 1, alias_of: str | None = None) -> list[str]:
    shown = found.model_dump(mode="json")
    return list(about({"id": "m", "workers": workers, "alias_of": alias_of, "card": shown}))


def test_engine_features_and_lacked_parameters_are_told() -> None:
    assert lines(lacking(features=("thinking", "adapters"), context=8192)) == [
        "m  engine vllm, 1 worker, 8,192 tokens",
        "  features: thinking, adapters",
        "  lacks: typical_p, no_repeat_ngram_size, prompt_logprobs",
    ]


def test_nothing_is_said_of_what_nobody_lacks() -> None:
    assert lines(card(), workers=0) == ["m  engine echo, no worker: jobs wait, 100 tokens"]
    (first,) = lines(card(), workers=2, alias_of="echo")
    assert first == "m (stands for echo)  engine echo, 2 workers, 100 tokens"


def test_the_card_of_an_older_server_says_less() -> None:
    old = {"engine": "native", "context": 9}
    assert list(about({"id": "m", "workers": 1, "alias_of": None, "card": old})) == [
        "m  engine native, 1 worker, 9 tokens"
    ]
