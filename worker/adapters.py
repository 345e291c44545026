"""Reads and checks the LoRA adapters that a worker serves beside its model. Knows no torch.

Each fault is a `ConfigError` that names the file and what to do. What an adapter is is decided by
the whole content of its files: once that changes, the adapter is refused until the worker starts
anew, because jobs were made for what it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.adapters import adapter_model
from common.errors import ConfigError
from common.tokenizer import digest
from common.types import JsonObject, ModelCard
from worker.engine.vllm.lora import RANKS, WEIGHTS
from worker.model_files import CONVERT, read_json, tensors

log = logging.getLogger(__name__)

CONFIG = "adapter_config.json"
PICKLES = ("adapter_model.bin", "adapter_model.pt")
MOST_RANK = RANKS[-1]
PREFIX = "base_model.model."  # of the tensors' names, before the names of the base's modules
ENDS = (".lora_A.weight", ".lora_B.weight")
# Of adapter_config.json: what makes an adapter more than low-rank matrices that are added.
NOT_PLAIN = ("use_dora", "lora_bias", "modules_to_save", "layer_replication", "use_qalora")

# Of a file: inode, size, and in ns when it was written last, which may be set, and when anything
# about it changed, which may not.
Stamp = tuple[int, int, int, int]


@dataclass
class Adapter:
    """An adapter whose files were checked. `rank` is the largest of its modules."""

    name: str
    folder: Path
    digest: str  # of the whole content of its files
    rank: int
    _stamps: list[Stamp] = field(repr=False)
    _changed: bool = False

    @classmethod
    def read(cls, name: str, path: Path, base: Path | None) -> Adapter:
        """Check the adapter in the folder `path`, for the model in the folder `base` (None: for the
        echo engine, which has none).

        Raises:
            ConfigError: a file is wrong, or the adapter was made for another model.
        """
        folder = path.expanduser().resolve()
        try:
            return cls._checked(name, folder, base)
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from None

    @classmethod
    def _checked(cls, name: str, folder: Path, base: Path | None) -> Adapter:
        stamps = _stamps(folder)
        config = _config(folder)
        found = tensors(folder / WEIGHTS)
        ranks = _ranks(folder, found)
        _check_ranks(folder, config, ranks)
        if base:
            _check_base(folder, found, base)
        return cls(name, folder, _digest(folder), max(ranks.values()), stamps)

    def has_changed(self) -> bool:
        """Whether the files have another content than when they were checked. Once they had, this
        stays so: what the engine has loaded by then is not known."""
        if self._changed:
            return True
        try:
            stamps = _stamps(self.folder)
            if stamps != self._stamps:
                self._changed = _digest(self.folder) != self.digest
                self._stamps = stamps
        except (ConfigError, OSError):  # a file is gone
            self._changed = True
        if self._changed:
            log.error(
                "the files of adapter %s in %s have changed; its requests are refused until this "
                "worker is started again",
                self.name,
                self.folder,
            )
        return self._changed


def read_adapters(paths: Mapping[str, Path], base: Path | None) -> tuple[Adapter, ...]:
    """The adapters in these folders by their names; see `Adapter.read`."""
    return tuple(Adapter.read(name, path, base) for name, path in paths.items())


def card_with(base: ModelCard, adapter: Adapter) -> ModelCard:
    """The card of a model with an adapter."""
    about = {
        "id": adapter_model(base.id, adapter.name),
        "digest": digest(base.digest, adapter.digest),
        "adapter": adapter.name,
        "base": base.id,
        "base_digest": base.digest,
    }
    return base.model_copy(update=about)


def _stamps(folder: Path) -> list[Stamp]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; PROMPTMILL_ADAPTERS names the adapters' folders")
    for name in (CONFIG, WEIGHTS):
        if (folder / name).is_file():
            continue
        pickle = next((each for each in PICKLES if (folder / each).exists()), None)
        if name == WEIGHTS and pickle:
            raise ConfigError(
                f"{folder / pickle} is a pickled adapter, which is never loaded; {CONVERT}"
            )
        raise ConfigError(f"{folder} holds no {name}, so it is no adapter's folder")
    stats = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    return [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in stats]


def _config(folder: Path) -> JsonObject:
    file = folder / CONFIG
    config = read_json(file)
    if (kind := config.get("peft_type")) != "LORA":
        raise ConfigError(f"{file} has peft_type {kind!r}; only LORA adapters are served")
    if config.get("bias", "none") != "none":
        raise ConfigError(
            f"{file} has bias {config['bias']!r}, which is not served; merge the adapter into its "
            "base model"
        )
    for name in NOT_PLAIN:
        if config.get(name):
            raise ConfigError(
                f"{file} has {name}, which is not served; merge the adapter into its base model"
            )
    return config


def _ranks(folder: Path, found: Mapping[str, list[int]]) -> dict[str, int]:
    """The rank of each module, of the shapes of its two matrices."""
    file, ranks = folder / WEIGHTS, {}
    for name, shape in found.items():
        end = next((end for end in ENDS if name.endswith(end)), None)
        if not name.startswith(PREFIX) or end is None:
            raise ConfigError(
                f"{file} has the tensor {name}, which is no part of a plain LoRA adapter; merge "
                "the adapter into its base model"
            )
        other = name.removesuffix(end) + ENDS[end == ENDS[0]]
        if len(shape) != 2 or len(found.get(other, [])) != 2:
            raise ConfigError(f"{file} has no pair of matrices for {name}; download it again")
        rank, same = shape[end == ENDS[1]], found[other][end == ENDS[0]]
        if rank != same:
            raise ConfigError(
                f"{file} has the rank {rank} in {name} and {same} in the matrix that belongs to "
                "it; download it again"
            )
        if not 1 <= rank <= MOST_RANK:
            raise ConfigError(
                f"{file} has the rank {rank} in {name}; ranks of 1 to {MOST_RANK} are served: "
                "merge the adapter into its base model"
            )
        ranks[_module(name)] = rank
    if not ranks:
        raise ConfigError(f"{file} is empty; download it again")
    return ranks


def _check_ranks(folder: Path, config: JsonObject, ranks: Mapping[str, int]) -> None:
    """The configuration must say the ranks that the matrices have: it decides how they are
    scaled."""
    said = config.get("r")
    if not config.get("rank_pattern") and set(ranks.values()) != {said}:
        raise ConfigError(
            f"{folder / CONFIG} says r = {said!r}, but {WEIGHTS} has the rank "
            f"{', '.join(map(str, sorted(set(ranks.values()))))}; download both again"
        )


def _check_base(folder: Path, found: Mapping[str, list[int]], base: Path) -> None:
    """Each module must be in the base model, with matrices that fit; of a quantised one the shapes
    are not known."""
    weights: dict[str, list[int]] = {}
    for file in sorted(base.glob("*.safetensors")):
        weights |= tensors(file)
    modules = {name.rpartition(".")[0] for name in weights}
    for name, shape in found.items():
        module = _module(name)
        if module not in modules:
            raise ConfigError(
                f"{folder / WEIGHTS} is for the module {module}, which {base} lacks: the adapter "
                "was made for another model"
            )
        outer = weights.get(f"{module}.weight", [])
        at = 1 if name.endswith(ENDS[0]) else 0
        if len(outer) == 2 and shape[at] != outer[at]:
            raise ConfigError(
                f"{folder / WEIGHTS} has {shape} in {name}, but {module} of {base} is {outer}: the "
                "adapter was made for another model"
            )


def _module(name: str) -> str:
    """The module of the base model that a tensor is for."""
    for end in ENDS:
        name = name.removesuffix(end)
    return name.removeprefix(PREFIX)


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
