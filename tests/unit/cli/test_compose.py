"""docker-compose.yml agrees with the code; it is read, not run."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from common.settings import Settings, variable
from common.worker_settings import ONLY_VLLM
from tests.support.processes import ROOT

WORKERS = ["worker", "worker-vllm"]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def stage(name: str) -> str:
    """What the Dockerfile says of an image, without what it begins with."""
    return (ROOT / "Dockerfile").read_text().split(f" AS {name}\n")[1].split("\nFROM")[0]


def test_no_name_stands_twice_in_a_mapping() -> None:
    """Compose refuses such a file; PyYAML would take the last one."""
    waiting = [yaml.compose((ROOT / "docker-compose.yml").read_text(), yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            assert sorted(set(names)) == sorted(names)
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def test_redis_keeps_what_was_accepted_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync always" in command
    assert "--maxmemory-policy noeviction" in command
    assert '--maxmemory "$${PROMPTMILL_SERVER_BYTES:-$$((kib * 512))}"' in command
    assert SERVICES["redis"]["volumes"] == ["redis-data:/data"]


def test_only_workers_reserve_gpus() -> None:
    reserving = [name for name, service in SERVICES.items() if "deploy" in service]
    assert reserving == WORKERS


@pytest.mark.parametrize("name", WORKERS)
def test_each_replica_of_a_worker_sees_all_gpus_and_runs_one_process(name: str) -> None:
    (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    built = stage(SERVICES[name]["build"]["target"])
    assert 'CMD ["promptmill", "worker", "--processes=1"]' in built
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in built


@pytest.mark.parametrize("name", WORKERS)
def test_workers_share_a_model_cache_and_can_be_given_a_hub_token(name: str) -> None:
    assert "model-cache:/home/promptmill/.cache" in SERVICES[name]["volumes"]
    assert "HF_TOKEN" in SERVICES[name]["environment"]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_more_time_to_stop_than_its_grace_period(name: str) -> None:
    grace = Settings.model_fields["grace"].default
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > grace


def test_all_but_workers_run_the_image_without_torch() -> None:
    images = {SERVICES[name]["image"] for name in ("web", "webhooks", "evaluator")}
    assert len(images) == 1 and not images & {SERVICES[name]["image"] for name in WORKERS}
    assert SERVICES["web"]["build"]["target"] == "web"
    assert "[worker]" not in stage("web") and "vllm" not in stage("web")


def test_vllm_has_an_image_of_its_own_without_the_pins_of_our_engine() -> None:
    assert SERVICES["worker-vllm"]["image"] == "promptmill-vllm"
    built = stage("vllm")
    assert 'pip install ".[vllm]"' in built
    assert "-c constraints.txt" not in built and "[worker]" not in built


def test_images_are_built_of_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name.removesuffix('*')}" for name in packages} <= set(kept)


def test_vllm_starts_only_with_its_profile() -> None:
    with_profiles = {
        name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each
    }
    assert with_profiles == {"worker-vllm": ["vllm"]}


def test_the_processes_of_a_worker_on_several_gpus_have_shared_memory_and_are_ended() -> None:
    vllm = SERVICES["worker-vllm"]
    assert vllm["shm_size"] == "8gb" and vllm["ulimits"]["memlock"] == -1 and vllm["init"]


def test_every_setting_of_vllm_can_be_given_in_the_environment_of_compose() -> None:
    given = SERVICES["worker-vllm"]["environment"]
    assert given["PROMPTMILL_ENGINE"] == "vllm"
    for name in map(variable, {*ONLY_VLLM, "adapters"}):
        assert given[name] == f"${{{name}:-}}"


def test_adapters_are_read_from_a_folder_that_no_worker_can_change() -> None:
    assert "./adapters:/adapters:ro" in SERVICES["worker-vllm"]["volumes"]


def test_settings_of_vllm_that_compose_passes_on_empty_count_as_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SERVICES["worker-vllm"]["environment"].items():
        if value.endswith(":-}"):
            monkeypatch.setenv(name, "")
    settings = Settings.load(engine="vllm")
    assert settings.gpus_per_worker == 1
    assert settings.quantization is None and settings.gpu_memory is None
    assert settings.served_models == (settings.model_name,)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_variable_is_a_setting(name: str) -> None:
    known = {variable(field) for field in Settings.model_fields} | {"HF_TOKEN"}
    assert set(SERVICES[name].get("environment", {})) <= known


@pytest.mark.parametrize(("given", "expected"), [("", None), ("1000000", "1000000"), ("0", "0")])
def test_redis_is_full_at_half_of_the_machines_memory_or_what_is_said(
    tmp_path: Path, given: str, expected: str | None
) -> None:
    """The command as a shell reads it, with an entrypoint that only says what it was asked."""
    entrypoint = tmp_path / "docker-entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    entrypoint.chmod(0o755)
    shell, option, script = SERVICES["redis"]["command"]
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PROMPTMILL_SERVER_BYTES": given}
    command = [shell, option, script.replace("$$", "$")]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=10)
    said = ran.stdout.split("\n")
    assert said[:7] == [
        "valkey-server",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ]
    half = Path("/proc/meminfo").read_text().split()[1]
    assert said[7:11] == [
        "--maxmemory",
        expected or str(int(half) * 512),
        "--maxmemory-policy",
        "noeviction",
    ]
