"""Small tokenizers of the kinds that models have, trained in a moment."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from common.tokenizer import JsonTokenizer

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
