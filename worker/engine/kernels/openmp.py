"""Which OpenMP runtimes this process has loaded.

The kernels must run on the threads of the one that torch uses: two runtimes would have a team of
spinning threads each, which take the cores from one another.
"""

from __future__ import annotations

import re
from pathlib import Path

from worker.engine.kernels.no_kernels import NoKernels

MAPS = Path("/proc/self/maps")
SONAME = "libgomp.so.1"  # what a library that gcc built asks the dynamic linker for
RUNTIME = re.compile(r"lib(?:g|i)?omp(?:5|-\w+)?\.so[.\d]*$")


def runtimes() -> set[Path]:
    """The files of the OpenMP runtimes of gcc, LLVM and Intel that are loaded."""
    # Address, permissions, offset, device, inode, and then the path, which may have spaces.
    paths = (line.split(maxsplit=5)[5:] for line in MAPS.read_text().splitlines())
    return {Path(path[0]) for path in paths if path and RUNTIME.search(path[0])}


def gomp() -> Path:
    """The runtime that torch has loaded; import torch first.

    Raises:
        NoKernels: it is not gcc's, or has a name that our library would not find it by.
    """
    loaded = runtimes()
    for path in sorted(loaded):
        if path.name.startswith(SONAME):  # a system calls the file itself libgomp.so.1.0.0
            return path
    names = ", ".join(sorted(path.name for path in loaded)) or "none"
    raise NoKernels(
        f"torch has loaded no {SONAME}, whose threads the kernels run on (loaded: {names})",
        "install torch from its own wheels",
    )
