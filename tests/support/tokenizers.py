"""Small tokenizers of the kinds that models have, trained in a moment."""

from __future__ import annotations

from functools import cache

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from common.tokenizer import JsonTokenizer

JSON = ['{"name": "Ann", "age": 31, "tags": ["a", "b"], "ok": true, "none": null}\n'] * 20
THINK, THOUGHT = "<think>", "</think>"  # tokens of their own, that are no special ones
END = "</s>"
CORPUS = ["The quick brown fox jumps over the lazy dog. ", "hello world and all who are in it"] * 20


@cache
def byte_level() -> JsonTokenizer:
    """Byte-level with merges, and a token that is put before plain texts: as Llama's. A character
    that is not of the corpus takes several tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    return JsonTokenizer(backend.to_str().encode())


@cache
def unigram() -> JsonTokenizer:
    """With a normalizer that changes lengths, as T5's and Gemma's: offsets are of the text as it
    was."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return JsonTokenizer(backend.to_str().encode())


@cache
def for_json() -> JsonTokenizer:
    """Byte-level, with merges that go across JSON's signs, an end token, and the marks of thoughts;
    less than 400 tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END],
        show_progress=False,
    )
    backend.train_from_iterator(JSON + CORPUS, trainer)
    backend.add_tokens([THINK, THOUGHT])
    end = backend.token_to_id(END)
    assert end is not None
    return JsonTokenizer(backend.to_str().encode(), frozenset({end}))


@cache
def byte_fallback() -> JsonTokenizer:
    """As Llama 2's: characters that are no tokens are written as tokens of one byte each."""
    letters = [*sorted({letter for text in JSON + CORPUS for letter in text} - {" "}), "▁"]
    tokens = ["<unk>", END, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens([END])
    return JsonTokenizer(backend.to_str().encode(), frozenset({1}))
