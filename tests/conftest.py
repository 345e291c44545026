"""Shared by all tests: one Valkey for the run, an empty database for each test, no network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cli.valkey import Valkey
from common.model_names import demo_folder
from common.settings import Settings
from tests.support.chromium import find_chromium, started
from tests.support.leaks import leaks
from tests.support.order import Together, rank
from tests.support.processes import end_all, marked
from tests.support.requirements import missing
from tests.support.valkey import OwnServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Torch's threads wait for each other by spinning: with several test processes on a few cores that
# costs many times the work itself. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Byte code is kept, also where the environment says otherwise: hundreds of processes are started,
# and each would compile our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# In an environment of its own: `make test-vllm`, which fails where there is no vLLM.
collect_ignore = [] if find_spec("vllm") else ["vllm"]

# The discard port: whatever goes through a proxy by accident fails at once.
DEAD_PROXY = "http://127.0.0.1:9"
BUILD_KERNELS = """
from common.settings import Settings
from worker.engine.kernels.library import load
load(Settings.load().cache)
"""
OUTSIDE = dict(os.environ)  # before any fixture: what pip needs to reach its index


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file stay together and in order."""
    items.sort(key=lambda item: rank(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # keep the order of the files
    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def dead_proxy() -> Iterator[None]:
    """Nothing here may go through a proxy; clients that talk to loopback must ignore it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, DEAD_PROXY)
            patch.setenv(name.lower(), DEAD_PROXY)
        for name in ("NO_PROXY", "no_proxy", "REDIS_URL"):
            patch.delenv(name, raising=False)
        for name in [name for name in os.environ if name.startswith("PROMPTMILL_")]:
            if name != "PROMPTMILL_CACHE":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_survivors() -> Iterator[None]:
    """Kill what this run started and its tests did not end."""
    with marked() as mark:
        yield
        if left := end_all(mark):
            print("killed at the end of the run:", *left, sep="\n  ", file=sys.stderr)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The run's server: real, on a free port, in memory only."""
    server = Valkey(tmp_path_factory.mktemp("valkey"), durable=False)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(valkey: Valkey) -> Iterator[str]:
    """The URL of an empty database. The test fails if it leaves a key that is never deleted."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        yield valkey.url
        assert leaks(client) == []


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server of the test's own, not started yet."""
    server = OwnServer(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The folder of the real demo model, fetched once per machine."""
    folder = demo_folder(Settings.load().cache)
    if not (folder / "config.json").exists():
        fetch = [sys.executable, "-m", "cli.main", "model", "fetch-demo"]
        done = subprocess.run(
            fetch, env=OUTSIDE, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            missing(f"the demo model: {done.stderr.strip()}")
        # Workers' kernels too, so that a compiler takes none of the time that tests give a worker.
        subprocess.run([sys.executable, "-c", BUILD_KERNELS], env=OUTSIDE, timeout=300, check=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One for the whole run: playwright cannot be started twice in a process."""
    found = find_chromium()
    if not found:
        missing("Chromium (Debian's package `chromium`)")
    with started(found) as browser:
        yield browser


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def empty_url(valkey: Valkey) -> str:
    """Of a server that is empty when a module's tests begin."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url
