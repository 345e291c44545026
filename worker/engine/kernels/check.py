"""Checks a built library in a process of its own: `python -m worker.engine.kernels.check LIBRARY
OPENMP` prints the verdict as a line of JSON.

If the library crashes, or kills the process with an instruction that the CPU lacks, only this
process ends. It needs no torch, only its OpenMP runtime (`OPENMP`, the file).
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
from dataclasses import asdict

from worker.engine.kernels.cache import Verdict
from worker.engine.kernels.openmp import runtimes
from worker.engine.kernels.signatures import declare
from worker.engine.kernels.trials import Trials


def main(arguments: list[str]) -> int:
    library, openmp = arguments
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected, and leaves no file
    ctypes.CDLL(openmp, mode=ctypes.RTLD_GLOBAL)
    print(json.dumps(asdict(check(library))))
    return 0


def check(library: str) -> Verdict:
    """Load the library and look at what it computes."""
    before = runtimes()
    try:
        functions = ctypes.CDLL(library)
        declare(functions)
    except (OSError, AttributeError) as error:
        return Verdict(f"the library does not load: {error}")
    if second := runtimes() - before:
        names = ", ".join(path.name for path in second)
        return Verdict(f"the library brings a second OpenMP runtime ({names}) beside torch's")
    trials = Trials(functions)
    why = trials.first_failure()
    return Verdict(why, int8=not why and trials.int8())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
