"""Arguments of vLLM that the setting `PROMPTMILL_VLLM_ARGS` may give, with their types and bounds.

Anything that is not listed here is refused by name: among vLLM's other arguments are some that run
code of a model, load classes by name, read pickles or open ports.
"""

from __future__ import annotations

import difflib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# Arguments of vLLM that have settings of their own.
SETTINGS = {
    "tensor_parallel_size": "PROMPTMILL_TENSOR_PARALLEL",
    "pipeline_parallel_size": "PROMPTMILL_PIPELINE_PARALLEL",
    "quantization": "PROMPTMILL_QUANTIZATION",
    "gpu_memory_utilization": "PROMPTMILL_GPU_MEMORY",
    "model": "PROMPTMILL_MODEL",
    "served_model_name": "PROMPTMILL_SERVED_NAME",
    "max_model_len": "PROMPTMILL_CONTEXT",
    "max_num_seqs": "PROMPTMILL_SLOTS",
    "dtype": "PROMPTMILL_DTYPE",
    "enable_lora": "PROMPTMILL_ADAPTERS",
    "generation_config": "PROMPTMILL_MODEL_DEFAULTS",
}


class VllmArgs(BaseModel):
    """By vLLM's names. None: vLLM's own default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    block_size: Literal[16, 32, 64, 128, 256] | None = None  # tokens
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = None
    kv_cache_memory_bytes: int | None = Field(None, ge=2**20, le=2**43)  # of each GPU
    max_num_batched_tokens: int | None = Field(None, ge=64, le=2**20)  # a step
    long_prefill_token_threshold: int | None = Field(None, ge=0, le=2**20)
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    cpu_offload_gb: float | None = Field(None, ge=0, le=4096)  # of weights, for each GPU
    enforce_eager: bool | None = None
    max_cudagraph_capture_size: int | None = Field(None, ge=0, le=4096)  # rows
    optimization_level: Literal[0, 1, 2, 3] | None = None
    attention_backend: (
        Literal["FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "CPU_ATTN"] | None
    ) = None
    disable_custom_all_reduce: bool | None = None
    enable_expert_parallel: bool | None = None
    disable_sliding_window: bool | None = None

    @classmethod
    def parse(cls, text: str) -> VllmArgs:
        """Arguments from a JSON object; an empty text gives none.

        Raises:
            ValueError: names each argument that is wrong, or not to be set here.
        """
        try:
            found = json.loads(text or "{}", object_pairs_hook=_unique)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError('must be a JSON object, such as {"enforce_eager": true}')
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise ValueError("; ".join(_explain(each) for each in error.errors())) from None

    @property
    def given(self) -> dict[str, Any]:
        """What vLLM gets."""
        return self.model_dump(exclude_none=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"has {twice} twice")
    return dict(pairs)


def _explain(error: Any) -> str:
    name = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg']}"
    if setting := SETTINGS.get(name):
        return f"{name} has a setting of its own, {setting}"
    near = difflib.get_close_matches(name, VllmArgs.model_fields, n=1, cutoff=0.85)
    if near:
        return f"{name} is no argument; did you mean {near[0]}?"
    return f"{name} cannot be set here; allowed are {', '.join(VllmArgs.model_fields)}"
