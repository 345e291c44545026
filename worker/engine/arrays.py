"""NumPy arrays of the host as tensors on the model's device."""

from __future__ import annotations

import numpy as np
import torch


def to_device(
    array: np.ndarray, device: torch.device, dtype: type[np.generic] | None = None
) -> torch.Tensor:
    """`array` as a tensor on `device`, converted to `dtype` first if one is given. On a CPU the
    tensor may share the array's memory."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype)).to(device, non_blocking=True)
