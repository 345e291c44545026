"""The doctor's checks of what a generation worker needs: device, memory, kernels, model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.doctor_vllm import check_versions, check_vllm
from cli.finding import Finding
from common.errors import ConfigError
from common.settings import Settings

MODEL_FIX = (
    "set PROMPTMILL_MODEL to a hub id, a local folder or smollm2-135m (`promptmill model "
    "fetch-demo`), and PROMPTMILL_DEVICE, PROMPTMILL_DTYPE and PROMPTMILL_ENGINE to auto"
)
# Memory that a model needs, as a multiple of its weights: the rest is for cache and activations.
MEMORY_FACTOR = 1.25


def check_model(settings: Settings, _folder: Path) -> Iterator[Finding]:
    if settings.is_echo:
        yield Finding("the echo engine needs no model", True)
        return
    if settings.engine == "vllm":
        yield from check_vllm(settings)
        return
    try:
        import torch  # noqa: F401  # only to see whether it is there
    except ImportError:
        yield Finding(
            "torch is not installed: this machine can run all but generation workers", True
        )
        return
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would print between the findings
    yield from check_versions()
    yield from check_gpus()
    try:
        memory = check_memory(settings)
        yield from memory
        if all(finding.good for finding in memory):
            kernels = Kernels.look(settings)
            yield kernels.finding
            yield check_loading(settings, kernels)
    except ConfigError as error:
        yield Finding(f"{settings.model} cannot be run: {error.message}", False, MODEL_FIX)


def check_gpus() -> Iterator[Finding]:
    import torch

    from worker.gpu import visible_gpus

    gpus, seen = len(visible_gpus()), torch.cuda.device_count()
    if gpus > seen:
        fix = "install a CUDA build of torch that fits the driver"
        yield Finding(
            f"the driver shows {gpus} GPUs, torch {torch.__version__} sees {seen}", False, fix
        )


def check_memory(settings: Settings) -> list[Finding]:
    """The device and dtype, and whether the model's weights fit into the free memory.

    Raises:
        ConfigError: there is no such device or model.
    """
    import torch

    from worker.devices import pick_device, pick_dtype
    from worker.models import find_model

    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    weights = weight_count(find_model(settings.model, settings.cache)) * dtype.itemsize
    free = (
        torch.cuda.mem_get_info(device)[0]
        if device.type == "cuda"
        else psutil.virtual_memory().available
    )
    need_mb, free_mb = int(weights * MEMORY_FACTOR) // 2**20, free // 2**20
    return [
        Finding(f"models run on {device.type} in {str(dtype).removeprefix('torch.')}", True),
        Finding(
            f"{settings.model} needs about {need_mb} MB of memory, {free_mb} MB are free",
            need_mb <= free_mb,
            "choose a smaller model, a smaller PROMPTMILL_DTYPE, or a larger device",
        ),
    ]


@dataclass(frozen=True)
class Kernels:
    """Which kernels a worker would compute with."""

    finding: Finding
    will_be_built: bool = False  # by the first worker; the doctor builds nothing

    @classmethod
    def look(cls, settings: Settings) -> Kernels:
        from worker.devices import computes_compiled, pick_device, pick_dtype
        from worker.engine.kernels.build import ABOUT, look
        from worker.engine.kernels.no_kernels import NoKernels

        if settings.kernels == "torch":
            return cls(Finding("kernels: torch's own (PROMPTMILL_KERNELS=torch)", True))
        device = pick_device(settings.device)
        if not computes_compiled(settings.engine, device, pick_dtype(settings.dtype, device)):
            return cls(
                Finding("kernels: torch's own; ours are for bfloat16 on a CPU, engine native", True)
            )
        try:
            built = look(settings.cache)
        except NoKernels as reason:
            return cls(Finding(f"kernels: torch's own, which are slower: {reason}", True))
        if built:
            return cls(Finding(f"kernels: compiled for this CPU ({built.library})", True))
        what = f"kernels: will be compiled when a worker first starts (once, about {ABOUT} s)"
        return cls(Finding(what, True), will_be_built=True)


def check_loading(settings: Settings, kernels: Kernels) -> Finding:
    """Load the model as a worker does, but build no kernels.

    Raises:
        ConfigError: it cannot be run as the settings say.
    """
    from worker.models import open_model

    opened = open_model(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        dtype=settings.dtype,
        kernels="torch" if kernels.will_be_built else settings.kernels,
        quantize=None if kernels.will_be_built else settings.quantize,
        cache=settings.cache,
        defaults=settings.model_defaults == "on",
        context=settings.context,
    )
    return Finding(f"{settings.model} loads, on the {opened.card.engine} engine", True)


def weight_count(folder: Path) -> int:
    """How many weights a model has, read from the headers of its files."""
    from safetensors import safe_open

    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118  # no dict
    return count
