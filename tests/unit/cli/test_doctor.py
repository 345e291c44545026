"""The doctor names each fault, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from cli import doctor_model
from cli.doctor import check_cluster, check_redis, check_version
from cli.doctor_model import check_model
from cli.finding import Finding
from cli.main import cli
from cli.valkey import Valkey, free_port
from common.settings import Settings
from common.store import keys


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.good]


def test_a_server_that_keeps_everything_is_fine(data_folder: Path) -> None:
    server = Valkey(data_folder)
    try:
        settings = Settings.load(redis_url=server.start())
        assert bad(check_redis(settings, data_folder)) == []
    finally:
        server.stop()


def test_a_server_that_can_lose_jobs_is_told(
    redis_url: str, redis_client: redis.Redis, data_folder: Path
) -> None:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        faults = bad(check_redis(Settings.load(redis_url=redis_url), data_folder))
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert ["append-only" in faults[0].what, "allkeys-lru" in faults[1].what] == [True, True]
    assert "noeviction" in faults[1].fix


def test_an_absent_server_is_told_without_its_password(data_folder: Path) -> None:
    settings = Settings.load(redis_url=f"redis://:hidden@127.0.0.1:{free_port()}/0")
    (fault,) = bad(check_redis(settings, data_folder))
    assert "cannot be reached" in fault.what
    assert "hidden" not in fault.what


def test_a_wrong_password_is_told(redis_url: str, data_folder: Path) -> None:
    wrong = "redis://:wrong@" + redis_url.partition("@")[2]
    (fault,) = bad(check_redis(Settings.load(redis_url=wrong), data_folder))
    assert "password" in fault.what


@pytest.mark.parametrize(
    ("info", "good"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, True),
    ],
)
def test_the_oldest_servers_are_redis_7_0_and_valkey_7_2(info: dict, good: bool) -> None:
    assert check_version(info).good is good


def test_cluster_mode_is_refused() -> None:
    assert not check_cluster({"cluster_enabled": 1}).good


def test_a_model_that_does_not_fit_is_told_with_both_numbers(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("worker.models.find_model", lambda *_: tmp_path)
    monkeypatch.setattr(doctor_model, "weight_count", lambda _: 10**15)
    (fault,) = bad(check_model(Settings.load(model="too-large", device="cpu"), data_folder))
    assert "needs about" in fault.what
    assert "are free" in fault.what


def test_a_model_that_is_not_there_is_told(data_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (fault,) = bad(check_model(Settings.load(model=str(tmp_path), device="cpu"), data_folder))
    assert "config.json" in fault.what
    assert "PROMPTMILL_MODEL" in fault.fix


def test_the_exit_code_tells_whether_all_is_well(
    redis_url: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("PROMPTMILL_MODEL", "echo")
    done = CliRunner().invoke(cli, ["doctor", "--data", str(data_folder)])
    assert done.exit_code == 1, done.output  # the tests' server keeps nothing
    assert "fix: set `appendonly yes`" in done.output


def test_missing_replicas_are_told(redis_url: str, data_folder: Path) -> None:
    settings = Settings.load(redis_url=redis_url, replicas=1)
    faults = [fault.what for fault in bad(check_redis(settings, data_folder))]
    assert "0 replicas of Redis are connected, promises wait for 1" in faults
    assert (
        "a Redis that is cut off from its replicas takes writes that a failover throws away"
        in faults
    )


def test_what_the_tenants_keep_is_told(
    redis_url: str, redis_client: redis.Redis, data_folder: Path
) -> None:
    redis_client.sadd(keys.TENANTS, "acme", "other")
    redis_client.hset(keys.stored("acme"), mapping={"jobs": 3 * 2**20, "files": 2**20})
    settings = Settings.load(redis_url=redis_url, max_stored_bytes=2**21)
    kept = [
        finding
        for finding in check_redis(settings, data_folder)
        if finding.what.startswith("tenant ")
    ]
    assert [(finding.what, finding.good) for finding in kept] == [
        ("tenant acme keeps 4 MiB of 2 MiB", False),
        ("tenant other keeps 0 B of 2 MiB", True),
    ]
    assert "PROMPTMILL_MAX_STORED_BYTES" in kept[0].fix
