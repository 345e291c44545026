"""LoRA adapters in vLLM: how many it makes room for, and under which names it has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ConfigError

WEIGHTS = "adapter_model.safetensors"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # for which vLLM makes room
ID_DIGITS = 15  # of a digest: vLLM's numbers of adapters are signed, of 64 bits


@dataclass(frozen=True)
class Lora:
    """An adapter; `digest` is of all its content, in hexadecimal digits."""

    name: str
    folder: Path
    digest: str
    rank: int


def lora_arguments(loras: Sequence[Lora]) -> dict[str, Any]:
    """What vLLM is started with. It makes room for all of them in each batch: else the requests of
    some would wait in their slots while others compute.

    One room more stays empty: beside rows with an adapter, vLLM's operations for CPUs compute a row
    without one with what is in the last room.
    """
    if not loras:
        return {}
    most = max(each.rank for each in loras)
    rooms = len(loras) + 1
    return {
        "enable_lora": True,
        "max_loras": rooms,
        "max_cpu_loras": rooms,
        "max_lora_rank": next(rank for rank in RANKS if rank >= most),
    }


def load_loras(vllm: Any, loras: Sequence[Lora]) -> dict[str, Any]:
    """Load all adapters, which none pushes out later; what requests name them by, by our names.

    vLLM takes adapters of one name for one, and finds prefixes in its cache by name and path. So
    its names are digests.

    Raises:
        ConfigError: vLLM cannot load one of them, or it has NaN or infinity.
    """
    if not loras:
        return {}
    from vllm.lora.request import LoRARequest

    named = {}
    for each in loras:
        _check_finite(each.folder / WEIGHTS)
        number = int(each.digest[:ID_DIGITS], 16) + 1
        named[each.name] = LoRARequest(each.digest, number, str(each.folder))
        try:
            loaded = vllm.add_lora(named[each.name])
        except Exception as error:
            raise ConfigError(f"vLLM cannot load the adapter in {each.folder}: {error}") from error
        if not loaded and number not in vllm.list_loras():
            raise ConfigError(f"vLLM does not load the adapter in {each.folder}")
    return named


def _check_finite(file: Path) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - it is no dict
            if not opened.get_tensor(name).float().isfinite().all():
                raise ConfigError(f"{file} has NaN or infinity in {name}; download it again")
