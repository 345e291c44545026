""".ci/setup finds a Python, or prints what to install; tried with different PATHs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT

GOOD = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
Machine = Callable[..., tuple[str, int]]
BROKEN_SHIM = "#!/bin/sh\necho 'pyenv: version 3.12 is not installed' >&2\nexit 127\n"
TOO_OLD = "#!/bin/sh\nexit 1\n"  # what a Python out of range answers to the question
# Good, but no environment is made: for what the script says before that.
UNFIT = f'#!/bin/sh\ncase "$*" in "-m venv"*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n'
NO_VENV = f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A checkout and a PATH with only the given Pythons; answers what the script says and its exit
    code.

    The install step is not run: the environment is made, and its pip then told to stop.
    """
    checkout, commands = tmp_path / "checkout", tmp_path / "bin"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "setup", checkout / ".ci")
    commands.mkdir()
    for tool in ("sh", "awk", "touch", "df", "env"):
        found = shutil.which(tool)
        assert found
        (commands / tool).symlink_to(found)

    def run(scripts: dict[str, str], **env: str) -> tuple[str, int]:
        for name, script in scripts.items():
            # Never write through a link to the machine's own tool.
            (commands / name).unlink(missing_ok=True)
            (commands / name).write_text(script)
            (commands / name).chmod(0o755)
        env |= {
            "PATH": str(commands),
            "HOME": os.environ["HOME"],
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }
        done = subprocess.run(
            ["sh", ".ci/setup", "demo"],
            cwd=checkout,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr, done.returncode

    return run


def test_a_shim_whose_python_is_missing_is_passed_over(
    machine: Machine,
) -> None:
    said, _ = machine(
        {
            "python3": TOO_OLD,
            "python3.13": BROKEN_SHIM,
            "python3.12": BROKEN_SHIM,
            "python3.11": GOOD,
        }
    )
    assert "Making .venv with Python 3." in said


def test_it_says_how_much_will_be_downloaded(machine: Machine) -> None:
    said, _ = machine({"python3": UNFIT})
    assert "Downloads up to 250 MB" in said


def test_without_a_python_in_range_one_line_says_what_to_install(
    machine: Machine,
) -> None:
    said, code = machine({"python3": TOO_OLD})
    assert code == 1
    assert said.count("\n") == 1
    assert "apt install python3 python3-venv" in said


def test_a_python_without_venv_is_told_by_the_name_of_the_package(
    machine: Machine,
) -> None:
    said, code = machine({"python3": NO_VENV})
    assert code == 1
    assert said.count("\n") == 1
    assert "python3-venv" in said


def test_another_python_with_venv_is_taken_over_one_without(
    machine: Machine,
) -> None:
    said, _ = machine({"python3": NO_VENV, "python3.12": UNFIT})
    assert "Making .venv" in said


def test_a_named_python_is_the_only_one_tried(machine: Machine) -> None:
    said, code = machine({"python3": GOOD, "mine": TOO_OLD}, PYTHON="mine")
    assert code == 1
    assert "mine" in said


def test_too_small_a_disk_is_told_before_anything_is_made(
    machine: Machine,
) -> None:
    full = "#!/bin/sh\necho header\necho '/dev/sda 100 99 1024 99% /'\n"
    said, code = machine({"python3": GOOD, "df": full})
    assert code == 1
    assert "1 MB free" in said
