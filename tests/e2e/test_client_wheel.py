"""The wheel of the Python client: alone in an environment, and beside the server's."""

from __future__ import annotations

import ast
import shutil
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.wheels import build, install, run

CLIENT = ROOT / "client"
# What `requests` brings; the rest of an environment's packages is not seen.
BROUGHT = ("requests", "urllib3", "certifi", "idna", "charset_normalizer")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "client"
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(CLIENT, source, ignore=ignore)
    return build(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the client and `requests`, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, symlinks=True)
    install(folder, wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in BROUGHT:
        (packages / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    return folder / "bin"


def test_the_wheel_has_every_module_its_types_and_nothing_else(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    kept = {
        str(path.relative_to(CLIENT))
        for path in (CLIENT / "promptmill").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "promptmill/py.typed" in kept
    assert {name for name in packed if ".dist-info/" not in name} == kept
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_alone_it_imports_without_the_server_or_a_library_for_frames(alone: Path) -> None:
    program = (
        "import promptmill, sys; print(promptmill.map([], 'x'), promptmill.map.__module__);"
        "assert not {'flask', 'celery', 'web', 'common', 'pandas', 'polars'} & set(sys.modules)"
    )
    assert run(alone / "python", "-c", program) == "[] promptmill.mapping\n"


def test_it_imports_only_the_standard_library_itself_and_requests() -> None:
    frames = {"pandas", "polars", "pyarrow", "openpyxl", "IPython"}  # inside functions only
    for path in (CLIENT / "promptmill").glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for top in {name.partition(".")[0] for name in names}:
                known = top in sys.stdlib_module_names or top in {"promptmill", "requests"}
                assert known or (top in frames and node not in tree.body), f"{path.name}: {top}"


def test_both_wheels_go_into_one_environment(wheel: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for room in ("common", "evals", "web", "worker", "cli"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, source / room, ignore=ignore)
    for name in ("pyproject.toml", "constraints.txt", "LICENSE"):
        shutil.copy(ROOT / name, source)
    server = build(source, tmp_path)
    files = [set(zipfile.ZipFile(each).namelist()) for each in (wheel, server)]
    assert files[0] & files[1] == set()
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    install(folder, wheel, server)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    program = "import promptmill, cli; print(promptmill.__file__, cli.__file__)"
    places = run(folder / "bin" / "python", "-c", program).split()
    assert all(Path(place).is_relative_to(folder) for place in places)
    assert "promptmill, version" in run(folder / "bin" / "promptmill", "--version")
