"""The setting PROMPTMILL_ADAPTERS: names, bounds, and refusals by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.adapters import MOST, adapter_model, parse_adapters
from common.errors import ConfigError
from common.settings import Settings


def test_adapters_are_pairs_of_a_name_and_a_folder() -> None:
    assert parse_adapters(" law = /data/law-v2 ,med=./m=1,") == {
        "law": Path("/data/law-v2"),
        "med": Path("./m=1"),
    }
    assert parse_adapters("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (",", "names no adapter; give NAME=PATH, or leave it out"),
        (" ", "names no adapter"),
        ("a=/x\nb=/y", "has a line break"),
        ("law", "must be NAME=PATH"),
        ("law=", "must be NAME=PATH"),
        ("=/x", "must have 1 to 64"),
        ("a:b=/x", "must have 1 to 64"),
        ("a/b=/x", "must have 1 to 64"),
        (".a=/x", "must have 1 to 64"),
        ("a b=/x", "must have 1 to 64"),
        ("é=/x", "must have 1 to 64"),
        ("a" * 65 + "=/x", "must have 1 to 64"),
        ("a=/x,a=/y", "there twice"),
        (",".join(f"a{i}=/x" for i in range(MOST + 1)), "65 adapters"),
    ],
)
def test_other_texts_are_refused(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=said):
        parse_adapters(text)
    monkeypatch.setenv("PROMPTMILL_ADAPTERS", text)
    with pytest.raises(ConfigError, match=f"PROMPTMILL_ADAPTERS=.*{said}"):
        Settings.load(engine="vllm")


def test_as_many_as_may_be_and_names_as_long_as_may_be_are_taken() -> None:
    text = ",".join(f"{'a' * 62}{i:02}=/x" for i in range(MOST))
    settings = Settings.load(engine="vllm", adapters=text, served_name="b" * 191)
    assert len(settings.served_models) == MOST + 1
    assert settings.served_models[:2] == ("b" * 191, "b" * 191 + ":" + "a" * 62 + "00")
    with pytest.raises(ConfigError, match=r"too long.*PROMPTMILL_SERVED_NAME"):
        Settings.load(engine="vllm", adapters=text, served_name="b" * 192)
    with pytest.raises(ValueError, match="too long"):
        adapter_model("b" * 192, "a" * 64)


@pytest.mark.parametrize("engine", ["auto", "native", "generate"])
def test_an_engine_without_adapters_refuses_the_setting(engine: str) -> None:
    with pytest.raises(ConfigError, match=rf"PROMPTMILL_ADAPTERS=a=/x .*by engine {engine}"):
        Settings.load(engine=engine, adapters="a=/x", model="some/model")


def test_without_adapters_a_worker_serves_one_model() -> None:
    assert Settings.load(model="echo").served_models == ("echo",)
    assert Settings.load(model="echo", adapters="a=/x").served_models == ("echo", "echo:a")
