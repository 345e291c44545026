"""Other engines to compare with; each runs a mix and returns the seconds it took."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from bench.lib.cores import Cores
from bench.lib.machine import ROOT
from bench.lib.mixes import Mix, Texts

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # which `worker.engine` sets for its own process


def _intel_openmp(python: str) -> dict[str, str]:
    """What makes vLLM use Intel's OpenMP, which its manual asks for; nothing where its environment
    has none. It is as fast as the other, and much faster while the machine is busy. Its threads
    wait 5 ms for more work, as vLLM sets it for its processes; else 200 ms of another's turn."""
    library = Path(python).absolute().parents[1] / "lib" / "libiomp5.so"
    if not library.exists():
        return {}
    return {"LD_PRELOAD": str(library), "KMP_BLOCKTIME": "5"}


class Transformers:
    """`generate()` one at a time and in one static batch, and transformers' own continuous
    batching."""

    def __init__(self, folder: str, dtype: torch.dtype):
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=0, eos_token_id=None
        )

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
        config = GenerationConfig(
            max_new_tokens=mix.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1
        )
        # Left alone it takes nearly all memory there is for its cache; this is plenty for either
        # mix.
        room = ContinuousBatchingConfig(max_memory_percent=0.1)
        began = time.perf_counter()
        out = self._model.generate_batch(
            mix.prompts, generation_config=config, continuous_batching_config=room
        )
        took = time.perf_counter() - began
        generated = sum(len(result.generated_tokens) for result in out.values())
        if generated != mix.generated:
            raise RuntimeError(
                f"transformers' continuous batching made {generated} tokens, not {mix.generated}"
            )
        return took

    def _generate(self, prompts: list[list[int]], new_tokens: int) -> None:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor(
            [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        )
        with torch.inference_mode():
            out = self._model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens)
        assert out.shape[1] == longest + new_tokens


def vllm_environment(python: str) -> dict[str, str]:
    """The variables of every process that runs vLLM: Intel's OpenMP, and 1 GiB for keys and
    values, since it takes most of the machine's memory otherwise."""
    return {**_intel_openmp(python), "VLLM_CPU_KVCACHE_SPACE": "1"}


class Vllm:
    """vLLM for CPU in a process and an environment of its own, which waits while others are
    measured. `slots` are rows at once, by default vLLM's own number."""

    def __init__(
        self,
        python: str,
        folder: str,
        dtype: str,
        cores: Cores,
        *,
        prefix_caching: bool,
        slots: int | None = None,
    ):
        self._process = subprocess.Popen(
            # As a file its folder would hide the standard library's `queue`.
            [python, "-m", "bench.lib.vllm"],
            cwd=ROOT,
            # In one process. How its threads wait is its own choice, not our engine's.
            env={
                **{name: value for name, value in os.environ.items() if name not in WAITING},
                **vllm_environment(python),
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        job = {"model": folder, "dtype": dtype, "prefix_caching": prefix_caching, "slots": slots}
        cores.check(json.loads(self._ask(json.dumps(job))))

    def run(self, mix: Mix | Texts) -> float:
        """Seconds for the mix."""
        return float(self._ask(json.dumps(asdict(mix))))

    def stop(self) -> None:
        self._process.communicate(timeout=60)

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(
                f"vLLM ended with status {self._process.wait(timeout=60)}; run bench.lib.vllm by "
                "hand"
            )
        return answer
