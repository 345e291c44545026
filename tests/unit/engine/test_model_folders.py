"""Whatever is wrong with a model's folder is a sentence with the file and the remedy; nothing
random is served."""

from __future__ import annotations

import json
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
from safetensors.torch import load_file, save_file
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
)

from cli.doctor import check_model
from common.errors import ConfigError
from common.settings import Settings
from tests.unit.engine.test_models import save
from tests.unit.engine.tiny import BASE, VOCABULARY, build
from worker.models import open_model

WEIGHTS = "model.safetensors"


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


def edit_json(file: Path, **fields: Any) -> None:
    found = json.loads(file.read_text())
    file.write_text(
        json.dumps({name: value for name, value in (found | fields).items() if value is not None})
    )


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: edit_weights(
        folder, lambda found: [found.pop(name) for name in list(found) if name in names]
    )


def config(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **fields)


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


def renamed(folder: Path) -> None:
    edit_weights(
        folder,
        lambda found: [found.update({f"module.{name}": found.pop(name)}) for name in list(found)],
    )


def base_only(folder: Path) -> None:
    edit_weights(
        folder,
        lambda found: [
            found.update({name.removeprefix("model."): found.pop(name)}) for name in list(found)
        ],
    )
    without("lm_head.weight")(folder)


def short_layer(folder: Path) -> None:
    without(*(name for name in load_file(folder / WEIGHTS) if name.startswith("model.layers.1.")))(
        folder
    )


def wrong_shape(folder: Path) -> None:
    edit_weights(folder, lambda found: found.update({"model.norm.weight": torch.ones(7)}))


def not_numbers(folder: Path) -> None:
    edit_weights(folder, lambda found: found["model.norm.weight"].fill_(float("nan")))


def one_not_a_number(folder: Path) -> None:
    edit_weights(folder, lambda found: found["model.embed_tokens.weight"][90].fill_(float("nan")))


def cut_off(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def gguf_only(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / "model.gguf").write_bytes(b"GGUF")


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def adapter_alone(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    adapter(folder)


def sentencepiece_only(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0enot a real one")
    edit_json(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no head": (without("lm_head.weight"), r"lm_head\.weight"),
    "base model only": (base_only, r"lm_head\.weight"),
    "a missing layer": (short_layer, r"layers\.1\."),
    "a missing weight": (without("model.layers.0.mlp.up_proj.weight"), r"up_proj"),
    "wrong names": (renamed, r"weights in .* (missing|no place)"),
    "fewer layers in the config": (
        config(num_hidden_layers=1),
        r"layers\.1\..* no place|no place.*layers\.1\.",
    ),
    "more layers in the config": (config(num_hidden_layers=3), r"missing.*layers\.2\."),
    "wrong shapes": (wrong_shape, r"another shape.*model\.norm\.weight"),
    "exl2": (
        config(quantization_config={"quant_method": "exl2", "bits": 4}),
        r"config\.json.*exl2",
    ),
    "gptq": (
        config(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}),
        r"gptq",
    ),
    "awq": (
        config(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128}),
        r"awq",
    ),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        r"bitsandbytes",
    ),
    "hqq": (config(quantization_config={"quant_method": "hqq", "quant_config": {}}), r"hqq"),
    "mlx": (config(quantization={"group_size": 64, "bits": 4}), r"config\.json.*MLX"),
    "an encoder": (config(model_type="bert", architectures=["BertModel"]), r"bert.*cannot write"),
    "a classifier": (
        config(architectures=["LlamaForSequenceClassification"]),
        r"SequenceClassification.*cannot write",
    ),
    "an unknown type": (config(model_type="nonesuch"), r"config\.json.*nonesuch"),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
    "a config that is no JSON": (written("config.json", b"{"), r"config\.json is no JSON"),
    "a config that is a list": (
        written("config.json", b"[]"),
        r"config\.json holds no JSON object",
    ),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"no \*\.safetensors"),
    "pickled weights": (pickled, r"pickled"),
    "empty weights": (written(WEIGHTS, b""), r"model\.safetensors is empty"),
    "weights cut off": (cut_off, r"model\.safetensors has \d+ bytes"),
    "weights that are none": (written(WEIGHTS, b"\xff" * 4096), r"model\.safetensors.*download"),
    "an LFS pointer": (
        written(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"),
        r"LFS pointer",
    ),
    "weights that are no numbers": (not_numbers, r"NaN"),
    "a row that is no number": (one_not_a_number, r"embed_tokens.*NaN"),
    "GGUF": (gguf_only, r"GGUF"),
    "an adapter beside weights": (adapter, r"adapter_config\.json.*not served"),
    "an adapter alone": (adapter_alone, r"adapter_config\.json.*not served"),
    "a sentencepiece model only": (sentencepiece_only, r"needs a tokenizer\.json"),
    "no tokenizer": (no_tokenizer, r"needs a tokenizer\.json"),
    "a broken tokenizer": (
        written("tokenizer.json", b'{"version": "1.0"'),
        r"tokenizer\.json .*download",
    ),
    "a tokenizer that is none": (written("tokenizer.json", b"{}"), r"tokenizer\.json .*download"),
    "a broken template": (written("chat_template.jinja", b"{% for m in messages %}"), r"template"),
    "a negative context": (config(max_position_embeddings=-5), r"max_position_embeddings -5"),
    "an end token that is none": (
        written("generation_config.json", b'{"eos_token_id": 999999}'),
        r"eos_token_id 999999",
    ),
    "an end token that is text": (
        written("generation_config.json", b'{"eos_token_id": "</s>"}'),
        r"eos_token_id '</s>'",
    ),
    "heads that do not divide": (config(hidden_size=33), r"config\.json|weights"),
    "no key heads": (config(num_key_value_heads=0), r"."),
    "an unknown rotation": (
        config(rope_parameters={"rope_type": "nonsense", "rope_theta": 1e4}),
        r"nonsense",
    ),
    "a broken generation config": (
        written("generation_config.json", b"{"),
        r"generation_config\.json",
    ),
}


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
    edit_json(folder / "config.json", max_position_embeddings=None)  # which no bloom says
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
