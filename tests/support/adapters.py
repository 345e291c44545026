"""Folders of LoRA adapters, made by hand: for checks of their files, and for the echo engine."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

MODULE = "model.layers.0.self_attn.q_proj"


def write_tensors(file: Path, shapes: dict[str, list[int]], fill: bytes = b"\1") -> None:
    """A safetensors file with float32 tensors of one byte's pattern."""
    table, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for each in shape:
            size *= each
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(table).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + fill * end)


def adapter_folder(
    folder: Path,
    *,
    rank: int = 2,
    module: str = MODULE,
    sizes: tuple[int, int] = (8, 8),
    fill: bytes = b"\1",
    **config: Any,
) -> Path:
    """An adapter for one module with so many (inputs, outputs)."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(about | config))
    name = f"base_model.model.{module}"
    shapes = {
        f"{name}.lora_A.weight": [rank, sizes[0]],
        f"{name}.lora_B.weight": [sizes[1], rank],
    }
    write_tensors(folder / "adapter_model.safetensors", shapes, fill)
    return folder
