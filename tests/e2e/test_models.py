"""`--model` takes what people have: a tiny random gpt2 and a tiny random T5 in local folders, as
`save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, GPT2LMHeadModel, GPT2Tokenizer, T5ForConditionalGeneration

from cli.progress import show_progress
from cli.valkey import free_port
from tests.support.up import Running
from tests.unit.engine.test_generate import build_seq2seq
from tests.unit.engine.test_models import save
from tests.unit.engine.tiny import build

PROMPT = "Once upon a time"
TOKENS = 50


def save_gpt2(folder: Path) -> Path:
    """Gpt2's own kind of tokenizer, trained on a sentence, and random weights of its shape."""
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator([PROMPT], vocab_size=262, special_tokens=["<|endoftext|>"])
    build(
        "gpt2", vocab_size=262, eos_token_id=0, bos_token_id=0, pad_token_id=None
    ).save_pretrained(folder)
    bytes_only.save_model(str(folder))
    GPT2Tokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gpt2(tmp_path_factory.mktemp("models") / "tiny-gpt2")


def test_gpt2_goes_on_with_once_upon_a_time_as_generate_would(gpt2: Path, tmp_path: Path) -> None:
    running = Running(
        tmp_path / "data",
        "--model",
        str(gpt2),
        "--port",
        str(free_port()),
        PROMPTMILL_DTYPE="float32",
    )
    try:
        client = running.wait_until_ready().client()
        params = {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
        job = show_progress(
            client,
            client.submit({"model": "tiny-gpt2", "prompts": [PROMPT], "params": params})["id"],
        )
        assert (job["status"], job["usage"]["completion_tokens"]) == ("completed", TOKENS)
        (item,) = client.items(job["id"])
    finally:
        running.stop()
    tokenizer, model = AutoTokenizer.from_pretrained(gpt2), GPT2LMHeadModel.from_pretrained(gpt2)
    asked = tokenizer(PROMPT, return_tensors="pt")
    assert item["usage"]["prompt_tokens"] == asked["input_ids"].shape[1]
    with torch.inference_mode():
        said = model.generate(
            **asked, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0
        )
    assert item["outputs"][0]["text"] == tokenizer.decode(said[0, asked["input_ids"].shape[1] :])


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of T5's shape; its tokenizer ends every text with the end token, as T5's
    does."""
    folder = save(build_seq2seq("t5"), tmp_path_factory.mktemp("models") / "tiny-t5")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A w2", special_tokens=[("w2", 2)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_an_encoder_decoder_model_answers_what_it_reads_as_generate_would(
    t5: Path, tmp_path: Path
) -> None:
    # To translate or sum up, whatever it learnt.
    prompts = ["w10 w11 w12 w13", "w40 w41", "w30 w31 w32 w33 w34 w35"]
    running = Running(
        tmp_path / "data",
        "--model",
        str(t5),
        "--port",
        str(free_port()),
        PROMPTMILL_DTYPE="float32",
    )
    try:
        client = running.wait_until_ready().client()
        params = {"max_tokens": 12, "temperature": 0}
        job = show_progress(
            client, client.submit({"model": "tiny-t5", "prompts": prompts, "params": params})["id"]
        )
        assert job["counts"]["succeeded"] == len(prompts)
        items = list(client.items(job["id"]))
    finally:
        running.stop()
    tokenizer, model = (
        AutoTokenizer.from_pretrained(t5),
        T5ForConditionalGeneration.from_pretrained(t5),
    )
    for prompt, item in zip(prompts, items, strict=True):
        with torch.inference_mode():
            said = model.generate(
                **tokenizer(prompt, return_tensors="pt"), max_new_tokens=12, do_sample=False
            )
        assert (
            item["outputs"][0]["text"].split()
            == tokenizer.decode(said[0], skip_special_tokens=True).split()
        )
        assert item["usage"]["prompt_tokens"] == len(prompt.split()) + 1
