"""How vLLM is to run a model, as the settings say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from worker.engine.vllm.lora import Lora


@dataclass(frozen=True)
class VllmOptions:
    """`args` are further arguments of vLLM's by its own names; they were checked."""

    tensor_parallel: int = 1  # GPUs a layer
    pipeline_parallel: int = 1  # groups of layers
    quantization: str | None = None  # None: as the checkpoint says
    gpu_memory: float | None = None  # share of each GPU's memory; None: vLLM's own default
    args: dict[str, Any] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()  # adapters that requests may name

    def __str__(self) -> str:
        """The settings that say so, without those that have their defaults."""
        given = {
            "TENSOR_PARALLEL": self.tensor_parallel if self.tensor_parallel > 1 else None,
            "PIPELINE_PARALLEL": self.pipeline_parallel if self.pipeline_parallel > 1 else None,
            "QUANTIZATION": self.quantization,
            "GPU_MEMORY": self.gpu_memory,
            "VLLM_ARGS": json.dumps(self.args) if self.args else None,
        }
        return ", ".join(
            f"PROMPTMILL_{name}={value}" for name, value in given.items() if value is not None
        )
