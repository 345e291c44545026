"""Checks the files of a model before its weights are loaded. Knows no torch.

Each fault is a `ConfigError` with one sentence that names the file and what to do.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.types import JsonObject

SAMPLES = 256  # pieces of a weight file that go into its digest
INDEX = "model.safetensors.index.json"
AGAIN = "download it again"
LFS = b"version https://git-lfs"
HEADER_MOST = 100_000_000  # bytes; the limit of the safetensors library
CONVERT = "convert them with `save_pretrained`"
OTHER_WEIGHTS = {  # file pattern -> what such files are, and what to do
    "*.gguf": "GGUF weights, which are not served; take the model's safetensors version",
    "*.npz": "MLX weights, which run on Apple's MLX only; take the model's original version",
    "*.bin": f"pickled weights, which are never loaded; {CONVERT}",
    "*.pt": f"pickled weights, which are never loaded; {CONVERT}",
    "*.pth": f"pickled weights, which are never loaded; {CONVERT}",
}


def inspect(folder: Path) -> None:
    """Check all files of a model's folder.

    Raises:
        ConfigError: a file is wrong; the message names it and what to do.
    """
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        raise ConfigError(
            f"{adapter} makes this an adapter, which is not served alone: name its base model, and "
            "it in PROMPTMILL_ADAPTERS (docs/adapters.md), or merge them"
        )
    config = _config(folder)
    _check_quantisation(folder, config)
    _check_weights(folder)


def read_json(file: Path) -> JsonObject:
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no JSON ({error}); {AGAIN}") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no JSON object; {AGAIN}")
    return found


def _config(folder: Path) -> JsonObject:
    file = folder / "config.json"
    if file.exists():
        return read_json(file)
    if list(folder.glob("*.gguf")):
        raise ConfigError(f"{folder} holds {OTHER_WEIGHTS['*.gguf']}")
    raise ConfigError(f"{folder} holds no config.json, so it is no model folder")


def _check_quantisation(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse MLX models: they have `quantization` without a method, so transformers would take
    their packed numbers for weights."""
    found = config.get("quantization_config") or config.get("quantization")
    if not found:
        return
    known = isinstance(found, dict) and (found.get("quant_method") or _is_bitsandbytes(found))
    if not known:
        raise ConfigError(
            f"{folder / 'config.json'} has a quantisation without `quant_method`. Such models are "
            "made for Apple's MLX and run only there; take the model's original version"
        )


def _is_bitsandbytes(found: Mapping[str, Any]) -> bool:
    return bool(found.get("load_in_4bit") or found.get("load_in_8bit"))


def _check_weights(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if not files and not index.exists():
        what = next(
            (what for pattern, what in OTHER_WEIGHTS.items() if list(folder.glob(pattern))), None
        )
        raise ConfigError(
            f"{folder} holds {what}" if what else f"{folder} has no *.safetensors weights; {AGAIN}"
        )
    tables = {file.name: set(tensors(file)) for file in files}
    if (folder / "model.safetensors").exists():
        return
    if index.exists():
        _check_index(index, tables)
    else:
        raise ConfigError(f"{index} is missing, and {folder} has no model.safetensors; {AGAIN}")


def _check_index(index: Path, tables: Mapping[str, set[str]]) -> None:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConfigError(f"{index} has no `weight_map`; {AGAIN}")
    missing = sorted(set(places.values()) - set(tables))
    if missing:
        raise ConfigError(
            f"{index.parent / missing[0]} is missing, one of {len(missing)} shards; download them "
            "again"
        )
    for tensor, file in places.items():
        if tensor not in tables[file]:
            raise ConfigError(
                f"{index.parent / file} lacks {tensor}, which {index.name} places there; {AGAIN}"
            )


def tensors(file: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, whose size must be that of its table.

    Raises:
        ConfigError: the file is no whole safetensors file.
    """
    size = file.stat().st_size
    if size == 0:
        raise ConfigError(f"{file} is empty; {AGAIN}")
    with file.open("rb") as stream:
        start = stream.read(len(LFS))
        if start == LFS:
            raise ConfigError(
                f"{file} is a Git LFS pointer without weights; fetch them with `git lfs pull`"
            )
        (length,) = struct.unpack("<Q", start[:8].ljust(8, b"\xff"))
        if length > min(size - 8, HEADER_MOST):
            raise ConfigError(f"{file} is cut off in its table, or no safetensors file; {AGAIN}")
        stream.seek(8)
        try:
            table = json.loads(stream.read(length))
            table.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in table.values()), default=0)
            shapes = {name: list(entry["shape"]) for name, entry in table.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ConfigError(f"{file} has a broken table of tensors; {AGAIN}") from None
    if 8 + length + end != size:
        raise ConfigError(
            f"{file} has {size} bytes where its table says {8 + length + end}; {AGAIN}"
        )
    return shapes


def fingerprints(folder: Path) -> list[str]:
    """A text for each weight file that differs between models: name, size, and a digest of its
    table and of samples."""
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        seen = hashlib.sha256()
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            seen.update(stream.read(length))
            # Two fine-tuned models have the same table, and may share tensors, so samples come from
            # the whole file.
            for sample in range(SAMPLES):
                stream.seek(8 + length + (size - 8 - length) * sample // SAMPLES)
                seen.update(stream.read(4096))
        found.append(f"{file.name}:{size}:{seen.hexdigest()}")
    return found
