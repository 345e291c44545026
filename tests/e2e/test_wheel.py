"""The wheel: built from the checkout, installed into an environment of its own, and run
outside the checkout."""

from __future__ import annotations

import shutil
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from cli.valkey import free_port
from tests.support.processes import ROOT
from tests.support.wheels import build, install, run

ROOMS = ("common", "evals", "web", "worker", "cli")
METADATA = ("pyproject.toml", "constraints.txt", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a `build` folder in the checkout would add its modules of old to it."""
    source = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, source / room, ignore=ignore)
    for name in METADATA:
        shutil.copy(ROOT / name, source)
    return build(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and with what is installed here except the
    checkout: a path that a .pth file adds has its own .pth files unread, and one of these is what
    makes `import common` find the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    install(folder, wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_every_module_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    kept = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert kept - packed == set()
    assert {name for name in packed - kept if ".dist-info/" not in name} == set()


def test_code_comes_from_the_wheel_alone(environment: Path) -> None:
    told = "import cli, common, web, worker; print(common.__file__, cli.__file__)"
    places = run(environment / "python", "-c", told).split()
    assert all(Path(place).is_relative_to(environment.parent) for place in places)


def test_the_demo_runs_outside_the_checkout(environment: Path, data_folder: Path) -> None:
    demo = ("demo", "--once", "--data", data_folder, "--port", str(free_port()))
    said = run(environment / "promptmill", *demo, "--engine", "echo", "--model", "echo")
    assert "completed: 12 succeeded" in said


def test_the_demo_with_its_model_runs_outside_the_checkout(
    environment: Path, data_folder: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTMILL_DEVICE", "cpu")
    demo = ("demo", "--once", "--data", data_folder, "--port", str(free_port()))
    assert "The capital of France is Paris." in run(environment / "promptmill", *demo)


def test_dependencies_can_be_installed_before_the_code_is_there(tmp_path: Path) -> None:
    """The first layers of the images: pyproject.toml alone makes a wheel without packages."""
    source = tmp_path / "source"
    source.mkdir()
    for name in METADATA:
        shutil.copy(ROOT / name, source)
    copied = "COPY " + " ".join(METADATA) + " ./\n"
    assert copied in (ROOT / "Dockerfile").read_text()
    empty = zipfile.ZipFile(build(source, tmp_path))
    assert all(".dist-info/" in name for name in empty.namelist())
