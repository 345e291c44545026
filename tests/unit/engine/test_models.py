"""Opening a model by name: what is found, which engine it gets, what its card says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.errors import ConfigError
from common.params import CELLS
from tests.unit.engine.test_generate import build_seq2seq
from tests.unit.engine.tiny import VOCABULARY, ask, build, run
from worker.models import open_model


def save(model: Any, folder: Path) -> Path:
    """A model folder as a hub would hold it, with a tokenizer of one word a token."""
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(VOCABULARY)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w2", pad_token="w0").save_pretrained(
        folder
    )
    return folder


def test_a_folder_opens_with_continuous_batching_and_generates(tmp_path: Path) -> None:
    opened = open_model(
        str(save(build("llama"), tmp_path / "tiny-llama")), dtype="float32", device="cpu", slots=4
    )
    assert (opened.card.id, opened.card.engine, opened.card.dtype) == (
        "tiny-llama",
        "native",
        "float32",
    )
    assert (opened.card.slots, opened.card.context, opened.card.tokenizer) == (4, 256, "json")
    opened.engine.start()
    ids = opened.tokenizer.encode("w7 w8 w9")
    output = run(opened.engine, [ask("a", ids, temperature=0.0, max_tokens=5, ignore_eos=True)])[
        "a"
    ].outputs[0]
    opened.engine.stop()
    assert ids == [7, 8, 9] and output.text.split() == [f"w{token}" for token in output.token_ids]


def test_encoder_decoder_models_take_the_generate_engine_and_the_card_says_so(
    tmp_path: Path,
) -> None:
    folder = save(build_seq2seq("t5"), tmp_path / "t5")
    opened = open_model(str(folder), dtype="float32", device="cpu", served_name="translate")
    assert (opened.card.id, opened.card.engine) == ("translate", "generate")
    with pytest.raises(ConfigError, match="encoder-decoder"):
        open_model(str(folder), engine="native", dtype="float32", device="cpu")


def test_cards_say_which_parameters_and_features_the_engine_has(tmp_path: Path) -> None:
    folder = save(build("llama"), tmp_path / "tiny-llama")
    options: Any = {"dtype": "float32", "device": "cpu", "slots": 2}
    native = open_model(str(folder), engine="native", **options).card
    generate = open_model(str(folder), engine="generate", **options).card
    echo = open_model("echo").card
    assert native.params == echo.params == CELLS
    assert set(CELLS) - set(generate.params or ()) == {"prompt_logprobs"}
    assert {"continuations", "seeded_resume"} <= set(native.features)
    assert "continuations" not in generate.features and "seeded_resume" in generate.features
    assert echo.features == ("seeded_resume",)
    # A worker with the other engine is refused under the same name.
    assert native.digest != generate.digest


TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def named(folder: Path, how: str, templates: dict[str, str]) -> Path:
    """A folder whose tokenizer has several templates, in each way that they are written down."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    if how == "list":
        config["chat_template"] = [
            {"name": name, "template": text} for name, text in templates.items()
        ]
    elif how == "dict":
        config["chat_template"] = templates
    else:
        (folder / "additional_chat_templates").mkdir()
        for name, text in templates.items():
            path = (
                "chat_template.jinja"
                if name == "default"
                else f"additional_chat_templates/{name}.jinja"
            )
            (folder / path).write_text(text)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("how", ["list", "dict", "files"])
def test_of_several_chat_templates_the_default_is_taken(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    both = named(
        save(build("llama"), tmp_path / "both"),
        how,
        {"default": TEMPLATE, "rag": "x", "tool_use": "y"},
    )
    assert open_model(str(both), dtype="float32", device="cpu").card.chat_template == TEMPLATE
    assert "chat template" not in caplog.text
    none = named(save(build("llama"), tmp_path / "none"), how, {"rag": "x", "tool_use": "y"})
    assert open_model(str(none), dtype="float32", device="cpu").card.chat_template is None
    assert "it has rag, tool_use, and none called default" in caplog.text


@pytest.mark.parametrize("template", ["{% if %}", "{{ 'x' * 10 ** 10 }}"])
def test_a_chat_template_that_serves_no_chat_is_found_at_load(
    tmp_path: Path, template: str
) -> None:
    folder = save(build("llama"), tmp_path / "broken")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ConfigError, match="cannot be served with its chat template"):
        open_model(str(folder), dtype="float32", device="cpu")


def test_a_model_has_the_same_context_and_digest_however_much_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = str(save(build("llama"), tmp_path / "one")), os.sysconf
    before = open_model(folder, dtype="float32", device="cpu").card
    few = {"SC_AVPHYS_PAGES": 8}  # the system's caches take the rest
    monkeypatch.setattr(os, "sysconf", lambda name: few.get(name) or real(name))
    after = open_model(folder, dtype="float32", device="cpu").card
    assert (after.context, after.digest) == (before.context, before.digest)


def test_the_digest_pins_weights_and_dtype_and_not_the_name(tmp_path: Path) -> None:
    model = build("llama")
    folder = str(save(model, tmp_path / "one"))
    first = open_model(folder, dtype="float32", device="cpu").card.digest
    assert (
        open_model(folder, dtype="float32", device="cpu", served_name="other").card.digest == first
    )
    assert open_model(folder, dtype="bfloat16", device="cpu").card.digest != first
    with torch.no_grad():
        model.lm_head.weight += 1
    assert (
        open_model(str(save(model, tmp_path / "two")), dtype="float32", device="cpu").card.digest
        != first
    )


def test_what_cannot_be_opened_says_how_to_fix_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fetch-demo"):
        open_model("smollm2-135m", cache=tmp_path)
    with pytest.raises(ConfigError, match=r"no config\.json"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="never loaded"):
        open_model(str(tmp_path))


def test_echo_opens_without_files() -> None:
    opened = open_model("echo", slots=8)
    assert (opened.card.engine, opened.card.tokenizer, opened.card.slots) == ("echo", "words", 8)
