"""Correctness and speed of the engine on an NVIDIA machine, with random weights in real shapes: no
network, no files.

`bench/gpu.sh` runs it. On a machine without a GPU it runs the same on the CPU, which is good for
nothing but trying out the script itself (`--shape tiny --rows 4 --prompt 8 --new 8`).
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig

from bench.lib.machine import commit, device
from bench.lib.mixes import Mix, short_prompts
from common.generation import Request, Spelling
from common.params import SamplingParams
from worker.engine.attention import flash
from worker.engine.attention.backend import LayerShape
from worker.engine.batching import BatchingEngine
from worker.engine.sampling.sampler import Knobs, sample, uniforms

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "type": "llama",
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    },
    "llama-3.2-1b": {
        "type": "llama",
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "qwen2.5-7b": {
        "type": "qwen2",
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}
FAMILIES = (
    "llama",
    "qwen3",
    "gemma2",
    "gpt2",
)  # plain, with norms, with soft caps and windows, without rotary embedding


class Silent:
    """A tokenizer for models without one: every token is no text."""

    eos_ids: frozenset[int] = frozenset()

    def encode(self, text: str, special: bool = True) -> list[int]:  # noqa: ARG002 - the protocol's
        return []

    def spell(self, token_id: int) -> Spelling:
        return Spelling(token_id, "")

    def special_id(self, text: str) -> int | None:  # noqa: ARG002 - the protocol's
        return None

    def stream(self) -> Silent:
        return self

    def step(self, token_id: int) -> str:  # noqa: ARG002 - the protocol's
        return ""


def build(shape: dict[str, Any], dtype: torch.dtype, where: torch.device) -> Any:
    torch.manual_seed(0)
    options = {
        **shape,
        "max_position_embeddings": 2048,
        "eos_token_id": None,
        "pad_token_id": 0,
        "bos_token_id": 1,
    }
    with where:
        model = AutoModelForCausalLM.from_config(
            CONFIG_MAPPING[options.pop("type")](**options), dtype=dtype
        )
    model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=None)
    return model.eval()


def run(engine: BatchingEngine, mix: Mix, params: SamplingParams) -> tuple[float, list[list[int]]]:
    began = time.perf_counter()
    for row, prompt in enumerate(mix.prompts):
        engine.submit(Request(str(row), "", prompt, params, row))
    found: dict[str, list[int]] = {}
    while len(found) < len(mix.prompts):
        for each in engine.collect(1.0):
            if each.error:
                raise RuntimeError(each.error[1])
            found[each.id] = each.outputs[0].token_ids
    return time.perf_counter() - began, [found[str(row)] for row in range(len(mix.prompts))]


def parity(where: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """The share of rows whose greedy output is `generate()`'s, small models of several families."""
    torch.backends.cuda.matmul.allow_tf32 = False
    found = {}
    for family in FAMILIES:
        extra = {"n_embd": 64, "n_layer": 2, "n_head": 4} if family == "gpt2" else {}
        model = build(
            {**SHAPES["tiny"], "type": family, "initializer_range": 0.2, **extra}, dtype, where
        )
        mix = Mix(short_prompts(8, 256).prompts, 24)
        expected = []
        for prompt in mix.prompts:
            ids = torch.tensor([prompt], device=where)
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=mix.new_tokens
            )
            expected.append(out[0, len(prompt) :].tolist())
        engine = BatchingEngine(model, Silent(), slots=8, context=256)
        engine.start()
        _, outputs = run(engine, mix, SamplingParams(max_tokens=mix.new_tokens, temperature=0.0))
        engine.stop()
        found[family] = sum(a == b for a, b in zip(outputs, expected, strict=True)) / len(expected)
    return found


def sampling_ms(rows: int, vocabulary: int, where: torch.device) -> float:
    """Milliseconds of one draw for rows with nucleus sampling."""
    logits = torch.randn(rows, vocabulary, device=where)
    knobs = Knobs.of([SamplingParams(temperature=0.8, top_p=0.95)] * rows)
    times = []
    for turn in range(20):
        count = np.arange(rows)
        began = time.perf_counter()
        # The list waits for the device.
        sample(logits, knobs, uniforms(count, count, count + turn)).tolist()
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def bandwidth(where: torch.device) -> float:
    """Bytes per second that a large sum reads."""
    data = torch.ones(250_000_000, device=where)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        data.sum().item()
        times.append(time.perf_counter() - began)
    return 1e9 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=256)
    arguments = parser.parse_args()
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    # First of all.
    kernel = flash.parity(LayerShape(8, 64, 64), dtype, where) if where.type == "cuda" else None
    agreed = parity(where, torch.float32)  # to the token
    # Counted, not promised: rounding leads some rows elsewhere.
    nearly = parity(where, torch.bfloat16)

    shape = SHAPES[arguments.shape]
    model = build(shape, dtype, where)
    rng = np.random.default_rng(0)
    prompts = rng.integers(2, shape["vocab_size"], (arguments.rows, arguments.prompt)).tolist()
    mix = Mix(prompts, arguments.new)
    config = GenerationConfig(
        max_new_tokens=mix.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1
    )
    began = time.perf_counter()
    made = sum(
        len(each.generated_tokens)
        for each in model.generate_batch(prompts, generation_config=config).values()
    )
    theirs = time.perf_counter() - began
    if made != mix.generated:
        raise RuntimeError(
            f"transformers' continuous batching made {made} tokens, not {mix.generated}"
        )
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if where.type == "cuda":
        torch.cuda.empty_cache()  # what it leaves behind would count as taken

    model.set_attn_implementation("eager")
    engine = BatchingEngine(
        model, Silent(), slots=arguments.rows, context=arguments.prompt + arguments.new
    )
    engine.start()
    run(engine, Mix(prompts[:2], 4), SamplingParams(max_tokens=4, temperature=0.0))
    ours, _ = run(engine, mix, SamplingParams(max_tokens=mix.new_tokens, temperature=0.0))
    engine.stop()
    # Seconds; prefill is in it, so the true share of the floor is a little higher.
    step = ours / mix.new_tokens
    drawing = sampling_ms(arguments.rows, shape["vocab_size"], where)
    line = {
        "bench": "gpu",
        "shape": arguments.shape,
        "kernel_difference": kernel,
        "parity": agreed,
        "parity_bfloat16": nearly,
        "attention": engine.attention,
        "tokens_per_s": {
            "promptmill": round(mix.generated / ours, 1),
            "transformers_cb": round(mix.generated / theirs, 1),
        },
        "ratio": round(theirs / ours, 2),
        "decode_floor_fraction": round(weights / bandwidth(where) / step, 3),
        "sampling_share": round(drawing / 1e3 / step, 3),
        "commit": commit(),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else device(),
    }
    print(json.dumps(line))
    if min(agreed.values()) < 1 or (kernel is not None and not kernel < flash.TOLERANCE):
        raise SystemExit(
            "what the engine computes here is wrong: see parity and kernel_difference above"
        )


if __name__ == "__main__":
    main()
