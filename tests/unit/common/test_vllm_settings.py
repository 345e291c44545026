"""Settings of vLLM: those that an engine does not honour are refused by name, and so is every
argument that is not on the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings, variable
from common.vllm_args import VllmArgs
from common.worker_settings import NOT_VLLM, ONLY_VLLM

VALUES = {
    "tensor_parallel": 2,
    "pipeline_parallel": 2,
    "quantization": "awq",
    "gpu_memory": 0.5,
    "vllm_args": '{"enforce_eager": true}',
    "quantize": "int8",
    "kernels": "torch",
}


@pytest.mark.parametrize("engine", ["auto", "native", "generate", "echo"])
@pytest.mark.parametrize("name", ONLY_VLLM)
def test_what_only_vllm_honours_is_refused_on_other_engines(name: str, engine: str) -> None:
    with pytest.raises(ConfigError, match=rf"{variable(name)}=.*by engine {engine}; set PROMPT"):
        Settings.load(engine=engine, **{name: VALUES[name]})
    assert getattr(Settings.load(engine="vllm", **{name: VALUES[name]}), name) == VALUES[name]


@pytest.mark.parametrize("name", NOT_VLLM)
def test_what_vllm_does_not_honour_is_refused_on_it(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{variable(name)}=.* is not honoured by engine vllm"):
        Settings.load(engine="vllm", **{name: VALUES[name]})


def test_a_default_that_is_spelled_out_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_TENSOR_PARALLEL", "1")
    monkeypatch.setenv("PROMPTMILL_QUANTIZATION", "")
    monkeypatch.setenv("PROMPTMILL_VLLM_ARGS", "")
    assert Settings.load(engine="native").tensor_parallel == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tensor_parallel", "0", "greater than or equal to 1"),
        ("pipeline_parallel", "65", "less than or equal to 64"),
        ("gpu_memory", "0.04", "greater than or equal to 0.05"),
        ("gpu_memory", "0.99", "less than or equal to 0.98"),
        ("gpu_memory", "nan", "less than or equal to 0.98"),
        ("quantization", "torchao", "Input should be 'awq'"),
        ("vllm_args", "[1]", "must be a JSON object"),
        ("vllm_args", "{", "is no JSON"),
        ("vllm_args", '{"block_size": 16, "block_size": 32}', "has block_size twice"),
        ("vllm_args", '{"block_size": 17}', "block_size: Input should be 16"),
        ("vllm_args", '{"enforce_eager": "yes"}', "enforce_eager: Input should be a valid boolean"),
        ("vllm_args", '{"cpu_offload_gb": -1}', "cpu_offload_gb: .*greater than or equal to 0"),
        ("vllm_args", '{"cpu_offload_gb": NaN}', "cpu_offload_gb: "),
        ("vllm_args", '{"enforce_eagre": true}', "no argument; did you mean enforce_eager"),
        ("vllm_args", '{"tensor_parallel_size": 2}', "own, PROMPTMILL_TENSOR_PARALLEL"),
    ],
)
def test_values_out_of_bounds_name_their_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_ENGINE", "vllm")
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ConfigError, match=rf"(?s){variable(name)}=.*({said})"):
        Settings.load()


@pytest.mark.parametrize(
    "name",
    [
        "trust_remote_code",
        "worker_cls",
        "worker_extension_cls",
        "scheduler_cls",
        "logits_processors",
        "load_format",
        "hf_overrides",
        "additional_config",
        "io_processor_plugin",
        "reasoning_parser_plugin",
        "model_loader_extra_config",
        "compilation_config",
        "kv_transfer_config",
        "distributed_executor_backend",
        "allowed_local_media_path",
    ],
)
def test_arguments_that_run_code_or_read_other_files_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be set here; allowed are block_size"):
        Settings.load(engine="vllm", vllm_args=json.dumps({name: True}))


def test_the_documentation_lists_every_argument() -> None:
    page = (Path(__file__).parents[3] / "docs" / "vllm.md").read_text()
    assert [name for name in VllmArgs.model_fields if f"`{name}`" not in page] == []


def test_arguments_on_the_list_are_what_vllm_gets() -> None:
    given = {"block_size": 32, "enforce_eager": True, "cpu_offload_gb": 2.5}
    assert VllmArgs.parse(json.dumps(given)).given == given
    assert VllmArgs.parse("").given == {}
