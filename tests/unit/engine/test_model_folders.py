"""What is wrong with a model's folder is refused in a sentence that names file and remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
)

from cli.doctor_model import check_model
from common.errors import ConfigError
from common.settings import Settings
from tests.unit.engine.damage import FAULTS, WEIGHTS, edit_json, without, written
from tests.unit.engine.test_models import save
from tests.unit.engine.tiny import BASE, VOCABULARY, build
from worker.models import open_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(
        build("llama", tie_word_embeddings=False), tmp_path_factory.mktemp("models") / "whole"
    )


@pytest.fixture(scope="module")
def in_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = build("llama", tie_word_embeddings=False)
    folder = save(model, tmp_path_factory.mktemp("models") / "shards")
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def opened(folder: Path, **options: Any) -> Any:
    return open_model(str(folder), dtype="float32", device="cpu", slots=2, **options)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_is_wrong_is_refused_in_a_sentence(
    fault: str, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    damage, names = FAULTS[fault]
    damage(folder)
    with pytest.raises(ConfigError, match=names) as refused:
        opened(folder)
    assert "\n" not in refused.value.message and len(refused.value.message) < 700, (
        refused.value.message
    )


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (
            lambda folder: next(iter(sorted(folder.glob("model-*")))).unlink(),
            r"model-00001.* is missing",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").unlink(),
            r"index\.json is missing",
        ),
        (written("model.safetensors.index.json", b"{}"), r"weight_map"),
    ],
    ids=["a missing shard", "a missing index", "an empty index"],
)
def test_shards_are_all_there(
    damage: Callable[[Path], None], names: str, in_shards: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(in_shards, folder)
    assert opened(folder).card.engine == "native"
    damage(folder)
    with pytest.raises(ConfigError, match=names):
        opened(folder)


def test_a_classifiers_checkpoint_is_no_language_model(tmp_path: Path) -> None:
    llama = CONFIG_MAPPING["llama"](**BASE)
    folder = save(AutoModelForSequenceClassification.from_config(llama), tmp_path / "model")
    with pytest.raises(ConfigError, match="SequenceClassification"):
        opened(folder)
    edit_json(folder / "config.json", architectures=["LlamaForCausalLM"])
    with pytest.raises(ConfigError, match=r"score\.weight|lm_head\.weight"):
        opened(folder)


@pytest.mark.parametrize(
    "family", ["gpt2", "opt", "mistral", "qwen3_moe", "gemma2", "phi3", "gpt_neox", "bloom"]
)
def test_whole_checkpoints_of_many_families_open(family: str, tmp_path: Path) -> None:
    assert opened(save(build(family), tmp_path / family)).card.id == family


@pytest.mark.parametrize("family", ["gemma3", "gemma4"])
def test_composite_configs_without_an_end_token_on_top_open(family: str, tmp_path: Path) -> None:
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
    sees = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    composite = CONFIG_MAPPING[family](
        text_config=BASE | layers, vision_config=sees | {"image_size": 28}
    )
    assert not hasattr(composite, "eos_token_id")
    folder = save(
        AutoModelForCausalLM.from_config(composite, dtype=torch.float32).eval(), tmp_path / family
    )
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert opened(folder).tokenizer.eos_ids == {2}


def test_a_vision_model_without_a_causal_class_is_refused_by_its_type(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    CONFIG_MAPPING["qwen2_5_vl"](text_config=BASE).save_pretrained(folder)
    with pytest.raises(
        ConfigError, match=r"type 'qwen2_5_vl', which transformers opens as no language model"
    ):
        opened(folder)


def test_a_context_that_the_config_does_not_say(tmp_path: Path, whole: Path) -> None:
    folder = save(build("bloom", n_layer=2, n_head=4, hidden_size=32), tmp_path / "bloom")
    edit_json(folder / "config.json", max_position_embeddings=None)  # a bloom has none
    assert opened(folder).card.context == 512
    edit_json(folder / "tokenizer_config.json", model_max_length=700)
    assert opened(folder).card.context == 700
    assert opened(folder, context=2000).card.context == 2000
    assert opened(whole, context=100).card.context == 100
    with pytest.raises(
        ConfigError, match=r"PROMPTMILL_CONTEXT is 300, but the model's config\.json says 256"
    ):
        opened(whole, context=300)


def test_a_worker_says_the_sentence_and_ends_with_2(
    whole: Path, tmp_path: Path, redis_url: str
) -> None:

    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    without("lm_head.weight")(folder)
    env = os.environ | {
        "REDIS_URL": redis_url,
        "PROMPTMILL_MODEL": str(folder),
        "PROMPTMILL_DEVICE": "cpu",
    }
    command = [sys.executable, "-m", "cli.main", "worker"]
    ended = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2 and "lm_head.weight" in said and "Traceback" not in said, said


SEEN = ["empty weights", "weights cut off", "an LFS pointer", "no head", "a broken tokenizer"]


@pytest.mark.parametrize("fault", SEEN)
def test_the_doctor_says_the_sentence_too(fault: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    damage, names = FAULTS[fault]
    damage(folder)
    *_, last = check_model(Settings.load(model=str(folder), device="cpu"), tmp_path)
    assert not last.good and re.search(names, last.what), last.what


def test_the_doctor_tries_the_context_that_a_worker_would(whole: Path, tmp_path: Path) -> None:
    *_, last = check_model(Settings.load(model=str(whole), device="cpu", context=300), tmp_path)
    assert not last.good and "PROMPTMILL_CONTEXT is 300" in last.what


def test_the_generation_config_is_read_where_there_is_one(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    GenerationConfig(eos_token_id=[5, VOCABULARY - 1]).save_pretrained(folder)
    assert opened(folder).tokenizer.eos_ids == {5, VOCABULARY - 1}
