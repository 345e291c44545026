"""Builds wheels of the checkout, installs them and runs what they bring: for tests of wheels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUILD = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")


def build(source: Path, into: Path) -> Path:
    done = subprocess.run(
        [sys.executable, *BUILD, "--wheel-dir", into, source],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel


def install(environment: Path, *wheels: Path) -> None:
    """Install wheels without what they depend on."""
    command = ("-m", "pip", "--python", environment / "bin" / "python", "install")
    subprocess.run(
        [sys.executable, *command, "--quiet", "--no-deps", "--no-index", *wheels],
        check=True,
        timeout=100,
    )


def run(command: Path, *arguments: str | Path, limit: float = 110) -> str:
    """What a command prints; it runs outside the checkout."""
    done = subprocess.run(
        [command, *arguments],
        cwd=command.parent,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
