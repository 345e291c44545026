"""A wall clock that jumps, for one server only: a small preloaded library changes what it reads."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """Start the server with `env`, then let it `jump`. Only on Linux with a C compiler, which
    `usable` tells."""

    usable = sys.platform == "linux" and shutil.which("cc") is not None

    def __init__(self, folder: Path):
        self._offset, library = folder / "clock", folder / "clock.so"
        self._seconds = 0
        self._write()
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True, timeout=60
        )
        self.env = {"LD_PRELOAD": str(library), "BENCH_CLOCK": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """From now on the clock is that much further on, or back."""
        self._seconds += seconds
        self._write()

    def _write(self) -> None:
        """In place: the server has the file mapped."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("=q", self._seconds))
