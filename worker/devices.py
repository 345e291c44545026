"""Finds out on which device and in which type a model is computed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

DEFAULT_SLOTS = {"cpu": 32, "cuda": 256}


def device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def computes_compiled(engine: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels compute such models, where there are any."""
    import torch

    return engine in ("auto", "native") and device.type == "cpu" and dtype == torch.bfloat16


def pick_device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA device")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype in the settings; `auto` is bfloat16 if the hardware multiplies it natively, else
    float32."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        native, why = major >= 8, f"compute capability {major}.x"
    else:
        capabilities = torch.cpu.get_capabilities()
        found = [
            flag
            for flag in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")
            if capabilities.get(flag)
        ]
        native, why = (
            bool(found),
            f"the CPU has {found[0]}" if found else "the CPU has no bfloat16 instructions",
        )
    dtype = torch.bfloat16 if native else torch.float32
    log.info("dtype %s: %s", str(dtype).removeprefix("torch."), why)
    return dtype
