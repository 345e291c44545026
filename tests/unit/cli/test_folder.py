"""The data folder: one `up` at a time uses it, and ends only processes that it recorded."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.folder import DataFolder, ServerInfo, find_server, find_settings, join_server
from common.errors import ConfigError
from common.settings import Settings
from tests.support.processes import spawn

SERVER = ServerInfo("http://127.0.0.1:8000", "pm_key", "redis://:secret@127.0.0.1:7000/0")


@pytest.fixture
def folder(data_folder: Path) -> Iterator[DataFolder]:
    folder = DataFolder(data_folder)
    folder.take()
    yield folder
    folder.let_go()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_folder_in_use_is_refused_with_the_running_url(folder: DataFolder) -> None:
    folder.remember_server(SERVER)
    with pytest.raises(ConfigError, match=SERVER.url):
        DataFolder(folder.path).take()


def test_a_folder_is_free_again_once_let_go(folder: DataFolder) -> None:
    folder.let_go()
    other = DataFolder(folder.path)
    other.take()
    other.let_go()


def test_the_key_is_readable_by_its_owner_only(folder: DataFolder) -> None:
    folder.remember_server(SERVER)
    assert stat.S_IMODE((folder.path / "server.json").stat().st_mode) == 0o600


def test_leftovers_are_ended(folder: DataFolder, sleeper: subprocess.Popen) -> None:
    folder.remember_children([sleeper.pid])
    assert folder.end_leftovers() == 1
    assert sleeper.poll() is not None


def test_a_process_that_got_a_leftovers_id_is_left_alone(
    folder: DataFolder, sleeper: subprocess.Popen
) -> None:
    another_start = psutil.Process(sleeper.pid).create_time() - 100
    (folder.path / "children.json").write_text(json.dumps([[sleeper.pid, another_start]]))
    assert folder.end_leftovers() == 0
    assert sleeper.poll() is None


def test_commands_find_the_server_in_the_folder_and_the_environment_goes_first(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.remember_server(SERVER)
    assert find_server(folder) == (SERVER.url, SERVER.api_key)
    assert find_settings(folder).redis_url == SERVER.redis_url
    monkeypatch.setenv("PROMPTMILL_URL", "https://elsewhere.example/")
    monkeypatch.setenv("PROMPTMILL_API_KEY", "pm_other")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere.example/1")
    assert find_server(folder) == ("https://elsewhere.example", "pm_other")
    assert find_settings(folder).redis_url == "redis://elsewhere.example/1"


def test_a_worker_beside_up_serves_the_same_adapters_from_any_folder(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    serving = Settings.load(engine="vllm", model="org/llama", adapters="law=law, med=/data/med")
    folder.remember_server(ServerInfo.of(serving, "pm_key"))
    for name in ("MODEL", "SERVED_NAME", "ENGINE", "ADAPTERS"):
        monkeypatch.setenv(f"PROMPTMILL_{name}", "")  # so that it is put back
        monkeypatch.delenv(f"PROMPTMILL_{name}")
    monkeypatch.setenv("REDIS_URL", "")
    monkeypatch.delenv("REDIS_URL")
    join_server(folder)
    joined = Settings.load()
    assert joined.served_models == ("org/llama", "org/llama:law", "org/llama:med")
    assert joined.adapters == f"law={tmp_path / 'law'},med=/data/med"


def test_without_any_server_the_error_says_how_to_name_one(folder: DataFolder) -> None:
    with pytest.raises(ConfigError, match="PROMPTMILL_URL"):
        find_server(folder)


def test_a_damaged_server_file_counts_as_none(folder: DataFolder) -> None:
    (folder.path / "server.json").write_text("{")
    assert folder.server() is None
