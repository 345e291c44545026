"""The files of adapters: what is wrong with them is named, and a change of content is noticed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from tests.support.adapters import MODULE, adapter_folder, write_tensors
from tests.support.cards import card
from worker.adapters import MOST_RANK, Adapter, card_with, read_adapters

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TENSOR = f"base_model.model.{MODULE}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return adapter_folder(tmp_path / "law")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = tmp_path / "base"
    made.mkdir()
    shapes = {"model.embed_tokens.weight": [10, 8], f"{MODULE}.weight": [8, 8]}
    write_tensors(made / "model.safetensors", shapes)
    return made


def test_an_adapter_is_read_with_its_rank_and_digest(folder: Path, base: Path) -> None:
    (adapter,) = read_adapters({"law": folder}, base)
    assert (adapter.name, adapter.rank, adapter.folder) == ("law", 2, folder)
    assert Adapter.read("law", folder, None).digest == adapter.digest
    other = adapter_folder(folder.parent / "other", fill=b"\2")
    assert Adapter.read("law", other, base).digest != adapter.digest
    scaled = adapter_folder(folder.parent / "scaled", lora_alpha=8)
    assert Adapter.read("law", scaled, base).digest != adapter.digest, "the configuration counts"


def test_a_card_with_an_adapter_has_a_name_and_a_digest_of_its_own(folder: Path) -> None:
    plain, adapter = card("llama"), Adapter.read("law", folder, None)
    made = card_with(plain, adapter)
    assert (made.id, made.adapter, made.base) == ("llama:law", "law", "llama")
    assert made.digest != plain.digest
    assert card_with(card("llama", digest="other"), adapter).digest != made.digest
    assert card_with(plain, adapter) == made


def lacks(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def one_sided(folder: Path) -> None:
    write_tensors(folder / WEIGHTS, {f"{TENSOR}.lora_A.weight": [2, 8]})


def unequal(folder: Path) -> None:
    shapes = {f"{TENSOR}.lora_A.weight": [2, 8], f"{TENSOR}.lora_B.weight": [8, 3]}
    write_tensors(folder / WEIGHTS, shapes)


def more(folder: Path) -> None:
    write_tensors(folder / WEIGHTS, {"base_model.model.lm_head.weight": [2, 8]})


def cut_off(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, (folder / WEIGHTS).stat().st_size - 1)


def made(**fields: object) -> Callable[[Path], object]:
    return lambda folder: adapter_folder(folder, **fields)  # type: ignore[arg-type]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "law is no folder"),
    "no configuration": (lacks(CONFIG), rf"holds no {CONFIG}"),
    "no weights": (lacks(WEIGHTS), rf"holds no {WEIGHTS}"),
    "a pickle": (pickled, r"adapter_model\.bin is a pickled adapter, which is never loaded"),
    "no JSON": (lambda folder: (folder / CONFIG).write_text("{"), rf"{CONFIG} is no JSON"),
    "another kind": (made(peft_type="IA3"), r"peft_type 'IA3'; only LORA"),
    "DoRA": (made(use_dora=True), "has use_dora, which is not served"),
    "whole modules": (made(modules_to_save=["lm_head"]), "has modules_to_save"),
    "a bias": (made(bias="all"), "has bias 'all', .* merge the adapter"),
    "another rank": (made(r=8), r"says r = 8, but .* has the rank 2"),
    "a rank too large": (
        made(rank=MOST_RANK + 1),
        r"has the rank 513 in \S+lora_A\.weight; ranks of 1 to 512 are",
    ),
    "a rank of nothing": (made(rank=0), r"rank 0 in \S+lora_A\.weight; ranks of 1 to 512"),
    "one matrix of two": (one_sided, r"no pair of matrices for .*lora_A"),
    "ranks that differ": (unequal, r"has the rank 2 in .* and 3 in the matrix .* again"),
    "other tensors": (more, r"lm_head\.weight, which is no part of a plain LoRA adapter"),
    "nothing": (lambda folder: write_tensors(folder / WEIGHTS, {}), "is empty"),
    "cut off": (cut_off, "where its table says"),
    "another model": (made(module="model.layers.9.mlp.up_proj"), r"layers\.9.* made for another"),
    "another width": (made(sizes=(16, 8)), r"has \[2, 16\] in .*is \[8, 8\].* another model"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_wrong_with_an_adapter_is_said(what: str, folder: Path, base: Path) -> None:
    damage, said = DAMAGE[what]
    damage(folder)
    with pytest.raises(ConfigError, match=said):
        read_adapters({"law": folder}, base)


def test_the_largest_rank_and_modules_of_other_ranks_are_taken(folder: Path, base: Path) -> None:
    adapter_folder(folder, rank=MOST_RANK)
    assert Adapter.read("law", folder, base).rank == MOST_RANK
    adapter_folder(folder, rank=4, r=2, rank_pattern={"q_proj": 4})
    assert Adapter.read("law", folder, base).rank == 4


def test_a_file_with_another_content_is_a_change(folder: Path) -> None:
    adapter = Adapter.read("law", folder, None)
    assert not adapter.has_changed()
    os.utime(folder / WEIGHTS, (1, 1))
    assert not adapter.has_changed(), "the content is the same"
    kept = (folder / WEIGHTS).read_bytes()
    about = (folder / WEIGHTS).stat()
    (folder / WEIGHTS).write_bytes(kept[:-1] + b"\7")
    os.utime(folder / WEIGHTS, (about.st_atime + 1, about.st_mtime + 1))
    assert adapter.has_changed()
    (folder / WEIGHTS).write_bytes(kept)
    assert adapter.has_changed(), "what was loaded meanwhile is not known"
    assert not Adapter.read("law", folder, None).has_changed(), "after a restart"


def test_another_content_with_the_old_size_and_time_is_a_change(folder: Path) -> None:
    """As `rsync --inplace --times` writes it, between two versions that have one date."""
    adapter, file = Adapter.read("law", folder, None), folder / WEIGHTS
    about = file.stat()
    time.sleep(0.02)  # the kernel's times of files have steps
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (about.st_ino, about.st_mtime_ns)
    assert adapter.has_changed()


def test_a_file_that_is_replaced_or_gone_is_a_change(folder: Path) -> None:
    replaced, gone = Adapter.read("law", folder, None), Adapter.read("law", folder, None)
    about = (folder / CONFIG).stat()
    new = folder / "new"
    new.write_bytes((folder / CONFIG).read_bytes().replace(b"4", b"5"))
    os.utime(new, ns=(about.st_atime_ns, about.st_mtime_ns))
    new.rename(folder / CONFIG)  # same size, same time
    assert replaced.has_changed()
    shutil.rmtree(folder)
    assert gone.has_changed()
