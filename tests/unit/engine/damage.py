"""Ways to damage a model's folder, each with a pattern that the refusal must match."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


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
    "an adapter beside weights": (
        adapter,
        r"adapter_config\.json.*not served alone.*PROMPTMILL_ADAPTERS",
    ),
    "an adapter alone": (adapter_alone, r"adapter_config\.json.*not served alone"),
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
