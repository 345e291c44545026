"""Loads vLLM into this process and opens a model with it. The only module that imports the library
itself before it is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from worker.engine.vllm.installed import conflicts
from worker.engine.vllm.lora import lora_arguments
from worker.engine.vllm.options import VllmOptions
from worker.engine.vllm.processes import Processes

log = logging.getLogger(__name__)

OWN_ENVIRONMENT = (
    "engine vllm needs vLLM, in an environment without the extra `worker`: "
    "pip install 'promptmill[vllm]' (docs/vllm.md)"
)
LEAST_STEP = 2048  # tokens of a step on a CPU, unless the context is longer
SHOWN = 400  # characters of an error of vLLM's
# What vLLM reads from the environment when it is imported.
VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its engine in this process, on our thread
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # other GPUs' processes share no locks with this one
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_PLUGINS": "",  # no code of other packages
    "VLLM_COMPUTE_NANS_IN_LOGITS": "1",  # such rows are failed
    "VLLM_CONFIGURE_LOGGING": "0",  # its lines go where ours go
}


def vllm_version() -> str:
    """The version of vLLM; imports it, which takes some seconds.

    Raises:
        ConfigError: it is not installed, conflicts with what is, or cannot be imported.
    """
    if wrong := conflicts():
        raise ConfigError(f"{OWN_ENVIRONMENT}; this one has {'; '.join(wrong)}")
    os.environ.update(VARIABLES)
    try:
        import vllm
    except Exception as error:  # an extension that does not fit this machine raises its own
        raise ConfigError(f"{OWN_ENVIRONMENT}; importing it failed: {error}") from None
    return str(vllm.__version__).partition("+")[0]


def vllm_device() -> str:
    """What this build of vLLM computes on, `cpu` or `cuda`."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def device_name() -> str:
    """The device by its own name, as model cards have it."""
    from vllm.platforms import current_platform

    return "cpu" if vllm_device() == "cpu" else str(current_platform.get_device_name())


def open_vllm(
    folder: Path,
    options: VllmOptions,
    processes: Processes,
    *,
    slots: int,
    context: int,
    dtype: str,
    seed: int = 0,
) -> Any:
    """vLLM's engine with the model in `folder`, which starts its `processes`. `dtype` is by vLLM's
    names; `auto` is what the checkpoint says. Loads and profiles, which may take minutes.

    Raises:
        ConfigError: vLLM cannot run it like this.
    """
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    given: dict[str, Any] = {
        "enable_prefix_caching": True,
        **_whole_prompts(options.args, slots, context),
        **options.args,
        **lora_arguments(options.loras),
        "model": str(folder),
        "dtype": dtype,
        "seed": seed,
        "max_num_seqs": slots,
        "max_model_len": context,
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "quantization": options.quantization,
        "generation_config": "vllm",  # the model's own is in the card's defaults
        "load_format": "safetensors",
        "language_model_only": True,  # no pictures and sounds
        "trust_remote_code": False,
        "disable_log_stats": True,
        "scheduling_policy": "priority",  # interactive requests first
        "structured_outputs_config": {"backend": "guidance"},
        "logprobs_mode": "raw_logprobs",
        "use_tqdm_on_load": False,
    }
    if options.gpu_memory is not None:
        given["gpu_memory_utilization"] = options.gpu_memory
    try:
        with processes.starting():
            return LLMEngine.from_engine_args(EngineArgs(**given))
    except Exception as error:
        log.debug("vLLM did not start", exc_info=True)
        raise ConfigError(f"{_refusal(folder, options)}: {_said(error)}") from error


def _whole_prompts(args: dict[str, Any], slots: int, context: int) -> dict[str, Any]:
    """On a CPU each prompt is computed in one step: where a part of a seeded row's prompt is in a
    step, vLLM 0.32 wants its random numbers back, which only GPUs' generators can do.

    Raises:
        ConfigError: the arguments ask for parts.
    """
    if vllm_device() != "cpu":
        return {}
    for name in ("enable_chunked_prefill", "long_prefill_token_threshold"):
        if args.get(name):
            raise ConfigError(
                f"PROMPTMILL_VLLM_ARGS: {name} is for GPUs; on a CPU vLLM computes each prompt "
                "in one step"
            )
    most = max(LEAST_STEP, context, slots)
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": most}


def _refusal(folder: Path, options: VllmOptions) -> str:
    given = f" with {options}" if str(options) else ""
    return f"vLLM cannot run the model in {folder}{given}"


def _said(error: Exception) -> str:
    text = " ".join(str(error).partition(" [type=")[0].split()) or type(error).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
