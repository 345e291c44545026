"""The texts that the queue and vLLM are measured with."""

from __future__ import annotations

from bench.lib.mixes import passages

TEXT = " ".join(f"w{number}" for number in range(500))


def test_passages_are_the_same_every_time_and_of_the_text() -> None:
    texts = passages(40, TEXT)
    assert texts == passages(40, TEXT)
    assert len(set(texts.prompts)) == 40 and texts.generated == 40 * texts.new_tokens
    assert all(each in TEXT and 30 <= len(each.split()) <= 70 for each in texts.prompts)


def test_prompts_for_warming_are_as_long_and_share_no_beginning() -> None:
    texts = passages(10, TEXT)
    warming = texts.warming()
    assert warming.new_tokens < texts.new_tokens
    for warm, each in zip(warming.prompts, texts.prompts, strict=True):
        assert sorted(warm.split()) == sorted(each.split())
        assert warm.split()[0] != each.split()[0]
