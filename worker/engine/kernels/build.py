"""Builds the compiled kernels with the machine's own compiler and keeps them in a cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "source"
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fopenmp",
    # The order of arithmetic is the source's, not the compiler's: fma where it is written.
    "-ffp-contract=off",
    "-shared",
    "-fPIC",
)
COMPILE_LIMIT = 120  # seconds


class NoKernels(Exception):
    """There are no compiled kernels here; the message says why and what to do."""


def source_hash() -> str:
    """The SHA-256 of every source file, names included, as hexadecimal digits."""
    seen = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        seen.update(f"{file.name}\n{file.stat().st_size}\n".encode() + file.read_bytes())
    return seen.hexdigest()


def build(cache: Path) -> Path:
    """The built library, from the cache if it is there.

    Raises:
        NoKernels: it cannot be built.
    """
    folder = cache.expanduser() / "kernels"
    library = folder / f"{source_hash()}.so"
    if library.exists():
        return library
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "c++")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        built = Path(work) / library.name
        command = [compiler, *FLAGS, str(SOURCE / "kernels.cpp"), "-o", str(built)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=COMPILE_LIMIT, text=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoKernels(f"{compiler}: {error}") from None
        if done.returncode:
            raise NoKernels(f"{compiler} failed: {done.stderr[-2000:]}")
        built.replace(library)
    return library
