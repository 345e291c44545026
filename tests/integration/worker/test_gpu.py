"""Workers on one host never use the same GPU. `nvidia-smi` is a script; the locks are real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.store.connection import connect
from worker.gpu import LOCK_TTL, claim_gpu, visible_gpus


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa'\necho '1, GPU-bbbb'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def test_each_worker_claims_a_device_of_its_own_and_one_too_many_is_refused(
    redis_url: str, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(redis_url)
    first = claim_gpu(client, "a")
    assert first is not None and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    second = claim_gpu(client, "b")
    assert second is not None and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match="all 2 visible GPUs are used"):
        claim_gpu(client, "c", patience=0)
    second.release()
    third = claim_gpu(client, "c")
    assert third is not None and third.uuid == "GPU-bbbb"
    assert 0 < client.pttl("pm:gpu:GPU-bbbb") <= LOCK_TTL, "a killed holder's lock runs out"
    first.release()
    third.release()
    client.close()


def test_only_visible_devices_are_claimed(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_gpus() == ["GPU-bbbb"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_a_machine_without_gpus_has_none_to_claim(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    client = connect(redis_url)
    assert claim_gpu(client, "a") is None
    client.close()
