"""Tokens per second of each contestant and the ratios that are reported; None for what did not
run."""

from __future__ import annotations

from collections.abc import Mapping

from bench.lib.mixes import Mix
from bench.lib.turns import Contestant

ALONE = (
    "promptmill",
    "promptmill_128",
    "promptmill_single",
    "promptmill_int8",
    "promptmill_int8_128",
    "generate",
    "static",
    "transformers_cb",
    "vllm",
    "vllm_128",
    "vllm_single",
)
SHARED = {  # key -> contestant
    "promptmill": "shared",
    "transformers_cb": "shared_transformers_cb",
    "vllm": "shared_vllm",
    "vllm_prefix_cache": "shared_vllm_prefix_cache",
}
RATIOS = {  # key -> how many times as fast the first contestant is as the second
    "static": ("promptmill", "static"),
    "transformers_cb": ("promptmill", "transformers_cb"),
    "vllm": ("promptmill", "vllm"),
    "vllm_128": ("promptmill_128", "vllm_128"),
    "single_vllm": ("promptmill_single", "vllm_single"),
    "shared_vllm": ("shared", "shared_vllm"),
    "shared_vllm_prefix_cache": ("shared", "shared_vllm_prefix_cache"),
    "int8_over_bf16": ("promptmill_int8", "promptmill"),
    "int8_over_bf16_128": ("promptmill_int8_128", "promptmill_128"),
}


def rates(
    contestants: Mapping[str, Contestant[Mix]], seconds: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """The fields `tokens_per_s`, `shared_prefix` and `ratio` of the bench's last line."""
    found = {name: contestants[name].mix.generated / took for name, took in seconds.items()}

    def rate(name: str) -> float | None:
        return round(found[name], 1) if name in found else None

    def ratio(ours: str, theirs: str) -> float | None:
        return round(found[ours] / found[theirs], 3) if {ours, theirs} <= set(found) else None

    return {
        "tokens_per_s": {name: rate(name) for name in ALONE},
        "shared_prefix": {key: rate(name) for key, name in SHARED.items()},
        "ratio": {key: ratio(*names) for key, names in RATIOS.items()},
    }
