"""The texts that perplexity is measured on."""

from __future__ import annotations

from pathlib import Path

from bench.perplexity import TEXTS
from common.tokenizer import JsonTokenizer


def test_the_texts_are_small_and_long_enough(demo_model: Path) -> None:
    """At least 20,000 tokens of the demo model, as the figures need, in 150 kB at most."""
    tokenizer = JsonTokenizer((demo_model / "tokenizer.json").read_bytes())
    texts = {name: path.read_text(encoding="utf-8") for name, path in TEXTS.items()}
    assert sum(len(tokenizer.encode(text)) for text in texts.values()) == 29_423
    assert sum(len(text.encode()) for text in texts.values()) < 150_000


def test_each_text_has_its_source_and_status_beside_it() -> None:
    readme = (next(iter(TEXTS.values())).parent / "README.md").read_text()
    for path in TEXTS.values():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{path.name}`"))
        assert "public domain" in row
