"""Who runs in the engine's bench, and what: our engine in bfloat16 and int8, transformers, vLLM."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from bench.lib.cores import Cores
from bench.lib.mixes import Mix, one_prompt, shared_instruction, short_prompts
from bench.lib.ours import GREEDY, MIXED, Ours
from bench.lib.peers import Transformers, Vllm
from bench.lib.turns import Contestant

PREFILL = 1024  # tokens of one prompt: a whole step


def mixes(vocabulary: int) -> dict[str, Mix]:
    """What is generated: `few` and `many` rows, rows with a `shared` instruction, a `single` row,
    and a `prefill` of one prompt."""
    few = short_prompts(32, vocabulary)
    return {
        "few": few,
        "many": short_prompts(128, vocabulary),
        "shared": shared_instruction(32, vocabulary),
        "single": Mix([few.prompts[0]], 128),
        "prefill": one_prompt(PREFILL, vocabulary),
    }


def ours(engine: Ours, mixes: dict[str, Mix]) -> dict[str, Contestant[Mix]]:
    greedy, mixed = (partial(engine.seconds, settings=each) for each in (GREEDY, MIXED))
    return {
        "promptmill": Contestant(greedy, mixes["few"]),
        "mixed": Contestant(mixed, mixes["few"]),
        "promptmill_128": Contestant(greedy, mixes["many"]),
        "shared": Contestant(greedy, mixes["shared"]),
        "promptmill_single": Contestant(greedy, mixes["single"]),
        "prefill": Contestant(greedy, mixes["prefill"]),
    }


def int8(engine: Ours, mixes: dict[str, Mix]) -> dict[str, Contestant[Mix]]:
    greedy = partial(engine.seconds, settings=GREEDY)
    return {
        "promptmill_int8": Contestant(greedy, mixes["few"]),
        "promptmill_int8_128": Contestant(greedy, mixes["many"]),
    }


def transformers(
    model: Path, dtype: torch.dtype, mixes: dict[str, Mix]
) -> dict[str, Contestant[Mix]]:
    peers = Transformers(str(model), dtype)
    # The slowest get fewer rows, or a run would take half an hour. One at a time the rate does not
    # depend on how many; with the shared instruction it may, so nothing is compared with it.
    return {
        "generate": Contestant(peers.one_at_a_time, mixes["few"].first(2)),
        "static": Contestant(peers.static_batch, mixes["few"]),
        "transformers_cb": Contestant(peers.continuous, mixes["few"]),
        "shared_transformers_cb": Contestant(peers.continuous, mixes["shared"].first(8)),
    }


class Vllms:
    """vLLM without and with prefix caching, each in a process of its own."""

    def __init__(self, python: str, model: Path, dtype: str, cores: Cores):
        self._plain, self._caching = (
            Vllm(python, str(model), dtype, cores, prefix_caching=caching)
            for caching in (False, True)
        )

    def contestants(self, mixes: dict[str, Mix]) -> dict[str, Contestant[Mix]]:
        return {
            "vllm": Contestant(self._plain.run, mixes["few"]),
            "vllm_128": Contestant(self._plain.run, mixes["many"]),
            "vllm_single": Contestant(self._plain.run, mixes["single"]),
            "shared_vllm": Contestant(self._plain.run, mixes["shared"]),
            "shared_vllm_prefix_cache": Contestant(self._caching.run, mixes["shared"]),
        }

    def stop(self) -> None:
        self._plain.stop()
        self._caching.stop()
