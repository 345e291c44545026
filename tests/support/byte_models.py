"""Writes a random model that reads and writes bytes, for stacks that run a real engine."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.field.byte_model import CONTEXT, END, TEMPLATE
from tests.unit.engine.tiny import build


def build_byte_model(folder: Path) -> Path:
    """A random Llama in this folder; each byte is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: id for id, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END, special=True)])
    ids = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
    build("llama", vocab_size=257, max_position_embeddings=CONTEXT, **ids).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder
