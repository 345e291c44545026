"""What people would use instead of the engine, each as a function that runs a mix and gives the seconds it took."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from bench._machine import ROOT
from bench._mix import Mix


class Transformers:
    """`generate()` one at a time and in one static batch, and transformers' own continuous batching."""

    def __init__(self, folder: str, dtype: torch.dtype):
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=None)

    def one_at_a_time(self, mix: Mix) -> float:
        began = time.perf_counter()
        for prompt in mix.prompts:
            self._generate([prompt], mix.new_tokens)
        return time.perf_counter() - began

    def static_batch(self, mix: Mix) -> float:
        began = time.perf_counter()
        self._generate(mix.prompts, mix.new_tokens)
        return time.perf_counter() - began

    def continuous(self, mix: Mix) -> float:
        config = GenerationConfig(max_new_tokens=mix.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1)
        # Left alone it takes nearly all memory there is for its cache; this is plenty for either mix.
        room = ContinuousBatchingConfig(max_memory_percent=0.1)
        began = time.perf_counter()
        out = self._model.generate_batch(mix.prompts, generation_config=config, continuous_batching_config=room)
        took = time.perf_counter() - began
        generated = sum(len(result.generated_tokens) for result in out.values())
        if generated != mix.generated:
            raise RuntimeError(f"transformers' continuous batching made {generated} tokens, not {mix.generated}")
        return took

    def _generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            out = self._model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens)
        assert out.shape[1] == longest + new_tokens


def vllm(python: str, folder: str, mixes: dict[str, Mix], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run of each mix in an environment of its own; `name+cache` has prefix caching on."""
    job = {
        "model": folder,
        "repeats": repeats,
        "mixes": {name: {"prompts": mix.prompts, "new_tokens": mix.new_tokens} for name, mix in mixes.items()},
    }
    found: dict[str, list[float]] = {}
    for caching in (False, True):
        done = subprocess.run(
            [python, "-m", "bench._vllm"],  # as a file its folder would hide the standard library's `queue`
            cwd=ROOT,
            input=json.dumps({**job, "prefix_caching": caching}),
            env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
            found[name + ("+cache" if caching else "")] = seconds
    return found
