"""Correctness and speed of the engine on an NVIDIA machine, with random weights in real shapes: no
network, no files.

`bench/gpu.sh` runs it. On a machine without a GPU it runs the same on the CPU, which is good for
nothing but trying out the script itself (`--shape tiny --rows 4 --prompt 8 --new 8`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GenerationConfig
from transformers.generation.continuous_batching.utils import WorkloadHints

from bench.lib.hardware import bandwidth
from bench.lib.machine import commit, device, driver
from bench.lib.mixes import Mix, short_prompts
from bench.lib.ours import GREEDY, run
from common.generation import Spelling
from common.params import SamplingParams
from worker.engine.attention import flash
from worker.engine.attention.backend import LayerShape
from worker.engine.batching import BatchingEngine
from worker.engine.model.selfcheck import ONE_OPERATION
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.sampler import sample
from worker.engine.sampling.uniforms import uniforms

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
# Plain, with norms, with soft caps and windows, without rotary embedding.
FAMILIES = ("llama", "qwen3", "gemma2", "gpt2")


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

    def rest(self) -> str:
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
        _, outputs = run(engine, mix, GREEDY)
        engine.stop()
        found[family] = sum(a == b for a, b in zip(outputs, expected, strict=True)) / len(expected)
    return found


def batching(model: Any, mix: Mix) -> float:
    """Seconds that transformers' continuous batching takes once it has recorded its CUDA graphs and
    run a little."""
    config = GenerationConfig(
        max_new_tokens=mix.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1
    )
    hints = WorkloadHints(max(map(len, mix.prompts)), mix.new_tokens, len(mix.prompts))
    with model.continuous_batching_context_manager(
        config, timeout=30, workload_hints=hints
    ) as manager:
        _batched(manager, mix.warming())
        began = time.perf_counter()
        _batched(manager, mix)
        return time.perf_counter() - began


def _batched(manager: Any, mix: Mix) -> None:
    manager.add_requests(inputs=mix.prompts, max_new_tokens=mix.new_tokens)
    made = 0
    while made < mix.generated:
        result = manager.get_result(timeout=1)
        if result is not None and result.is_finished():
            made += len(result.generated_tokens)
        elif result is None and not manager.is_running():
            raise RuntimeError(f"it made {made} tokens, not {mix.generated}")


def sampling_ms(rows: int, vocabulary: int, spread: float, where: torch.device) -> float:
    """Milliseconds of one draw for rows with nucleus sampling. `spread` is the standard deviation
    of the logits: of 1, nearly all tokens are in the nucleus; of 8, some ten."""
    logits = torch.randn(rows, vocabulary, device=where) * spread
    knobs = Knobs.of([SamplingParams(temperature=0.8, top_p=0.95)] * rows)
    times = []
    for turn in range(20):
        count = np.arange(rows)
        began = time.perf_counter()
        # The list waits for the device.
        sample(logits, knobs, uniforms(count, count, count + turn)).tolist()
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def kernel_difference(where: torch.device) -> float | None:
    """How far the paged kernel is from plain arithmetic; None where there is none."""
    if where.type != "cuda":
        return None
    shapes = LayerShape(8, 64, 64), LayerShape(4, 128, 128)
    try:
        return float(np.max([flash.parity(shape, torch.bfloat16, where) for shape in shapes]))
    except Exception as error:  # an older torch: attention gathers then
        print(f"no paged kernel here: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def theirs(model: Any, mix: Mix) -> float | None:
    """Seconds of `batching`; None, and why, where it fails: the other figures are worth having."""
    try:
        return batching(model, mix)
    except Exception as error:
        print(f"transformers' batching: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def ours(model: Any, mix: Mix) -> tuple[BatchingEngine, float, float]:
    """The engine, stopped, the seconds it took, and those of its median step."""
    longest = max(map(len, mix.prompts))
    engine = BatchingEngine(
        model, Silent(), slots=len(mix.prompts), context=longest + mix.new_tokens
    )
    engine.start()
    run(engine, mix.warming(), GREEDY)
    engine.step_times()
    took, _ = run(engine, mix, GREEDY)
    step = median(engine.step_times())  # nearly all are decode steps
    engine.stop()
    return engine, took, step


def speed(shape: dict[str, Any], mix: Mix, where: torch.device) -> dict[str, Any]:
    """Throughput of both on one model, and what a decode step's time goes to."""
    model = build(shape, torch.bfloat16 if where.type == "cuda" else torch.float32, where)
    peers = theirs(model, mix)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if where.type == "cuda":
        torch.cuda.empty_cache()  # what it leaves behind would count as taken
    model.set_attn_implementation("eager")
    engine, took, step = ours(model, mix)
    rows, vocabulary = len(mix.prompts), shape["vocab_size"]
    return {
        **engine.parts,
        "tokens_per_s": {
            "promptmill": round(mix.generated / took, 1),
            "transformers_cb": round(mix.generated / peers, 1) if peers else None,
        },
        "ratio": round(peers / took, 2) if peers else None,
        "decode_step_ms": round(step * 1e3, 2),
        "decode_floor_fraction": round(weights / bandwidth(where, 10) / step, 3),
        "sampling_ms": {
            name: round(sampling_ms(rows, vocabulary, spread, where), 2)
            for name, spread in (("peaked", 8.0), ("flat", 1.0))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.2-1b")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=256)
    arguments = parser.parse_args()
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kernel = kernel_difference(where)  # first of all
    agreed = parity(where, torch.float32)  # to the token
    # Counted, not promised: rounding leads some rows elsewhere.
    nearly = parity(where, torch.bfloat16)
    shape = SHAPES[arguments.shape]
    rng = np.random.default_rng(0)
    prompts = rng.integers(2, shape["vocab_size"], (arguments.rows, arguments.prompt)).tolist()
    line = {
        "bench": "gpu",
        "shape": arguments.shape,
        "kernel_difference": kernel,
        "parity": agreed,
        "parity_bfloat16": nearly,
        **speed(shape, Mix(prompts, arguments.new), where),
        "commit": commit(),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else device(),
        "driver": driver(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(line))
    if min(agreed.values()) < 1 or (kernel is not None and not kernel < ONE_OPERATION):
        raise SystemExit(
            "what the engine computes here is wrong: see parity and kernel_difference above"
        )


if __name__ == "__main__":
    main()
