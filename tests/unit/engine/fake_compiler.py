"""A compiler that is a shell script, for tests of what goes wrong when the kernels are built."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.engine.kernels import build
from worker.engine.kernels.build import prepare
from worker.engine.kernels.cache import Verdict
from worker.engine.kernels.no_kernels import NoKernels

WRITES = 'echo library > "$last"'


class FakeCompiler:
    """A script that `CXX` names. It notes each time that it compiles."""

    def __init__(self, folder: Path):
        self._script = folder / "fake-g++"
        self._notes = folder / "notes"
        self.started = folder / "started"

    def does(self, what: str) -> None:
        """Do `what` to compile; `$last` is the file to write."""
        self._script.write_text(
            f"""#!/bin/sh
for last; do :; done
case "$*" in
    *--version*) echo "fake 1.0";;
    *--help=target*) echo "-march= fake";;
    *) echo compiled >> {self._notes}; {what};;
esac
"""
        )
        self._script.chmod(0o700)

    @property
    def path(self) -> str:
        return str(self._script)

    @property
    def count(self) -> int:
        return len(self._notes.read_text().splitlines()) if self._notes.exists() else 0


def fake_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCompiler:
    """A compiler that works, on a CPU that has all instructions, with a check that passes."""
    made = FakeCompiler(folder)
    made.does(WRITES)
    monkeypatch.setenv("CXX", made.path)
    monkeypatch.setattr(build, "check_cpu", lambda: None)
    monkeypatch.setattr(build, "judge", lambda *_: Verdict("", int8=True))
    return made


def reason(folder: Path) -> str:
    """Why there are no kernels."""
    with pytest.raises(NoKernels) as refused:
        prepare(folder)
    return str(refused.value)
