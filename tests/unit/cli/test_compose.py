"""docker-compose.yml agrees with the code; it is read, not run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from common.settings import Settings, variable
from tests.support.processes import ROOT

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


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


def test_only_workers_reserve_gpus_and_each_replica_runs_one_process() -> None:
    reserving = [name for name, service in SERVICES.items() if "deploy" in service]
    assert reserving == ["worker"]
    (device,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert 'CMD ["promptmill", "worker", "--processes=1"]' in (ROOT / "Dockerfile").read_text()


def test_workers_share_a_model_cache_and_can_be_given_a_hub_token() -> None:
    assert SERVICES["worker"]["volumes"] == ["model-cache:/home/promptmill/.cache"]
    assert "HF_TOKEN" in SERVICES["worker"]["environment"]


def test_a_worker_is_given_more_time_to_stop_than_its_grace_period() -> None:
    grace = Settings.model_fields["grace"].default
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > grace


def test_all_but_workers_run_the_image_without_torch() -> None:
    images = {SERVICES[name]["image"] for name in ("web", "webhooks", "evaluator")}
    assert len(images) == 1 and SERVICES["worker"]["image"] not in images
    assert SERVICES["web"]["build"]["target"] == "web"
    web_stage = (ROOT / "Dockerfile").read_text().split("AS web")[1].split("FROM")[0]
    assert "[worker]" not in web_stage


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
