"""`--model` takes what people have: here a tiny random gpt2 in a local folder, as `save_pretrained` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2Tokenizer

from cli.client import show_progress
from cli.valkey import free_port
from tests.e2e.running import Running
from tests.unit.engine.tiny import build

PROMPT = "Once upon a time"
TOKENS = 50


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gpt2's own kind of tokenizer, trained on a sentence, and random weights of its shape."""
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator([PROMPT], vocab_size=262, special_tokens=["<|endoftext|>"])
    build("gpt2", vocab_size=262, eos_token_id=0, bos_token_id=0, pad_token_id=None).save_pretrained(folder)
    bytes_only.save_model(str(folder))
    GPT2Tokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def test_gpt2_goes_on_with_once_upon_a_time_as_generate_would(gpt2: Path, tmp_path: Path) -> None:
    running = Running(tmp_path / "data", "--model", str(gpt2), "--port", str(free_port()), PROMPTMILL_DTYPE="float32")
    try:
        client = running.wait_until_ready().client()
        params = {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
        job = show_progress(client, client.submit({"model": "tiny-gpt2", "prompts": [PROMPT], "params": params})["id"])
        assert (job["status"], job["usage"]["completion_tokens"]) == ("completed", TOKENS)
        (item,) = client.items(job["id"])
    finally:
        running.stop()
    tokenizer, model = AutoTokenizer.from_pretrained(gpt2), GPT2LMHeadModel.from_pretrained(gpt2)
    asked = tokenizer(PROMPT, return_tensors="pt")
    assert item["usage"]["prompt_tokens"] == asked["input_ids"].shape[1]
    with torch.inference_mode():
        said = model.generate(**asked, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    assert item["outputs"][0]["text"] == tokenizer.decode(said[0, asked["input_ids"].shape[1] :])
