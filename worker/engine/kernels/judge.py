"""Has a built library checked by a process of its own, which may crash in its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from worker.engine.kernels.cache import Verdict
from worker.engine.kernels.no_kernels import NoKernels

CHECK = [Path(__file__).parent / name for name in ("check.py", "trials.py")]
CHECK_LIMIT = 60.0  # seconds; it takes one
THREADS = "2"  # so that work is divided, also where there is one core
# Signals that the library's own code causes. Others come from outside, as when memory runs out.
CRASHES = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT}


def judge(library: Path, openmp: Path) -> Verdict:
    """Whether the library computes rightly.

    Raises:
        NoKernels: the check came to no end, so the next start must check anew.
    """
    command = [sys.executable, "-m", "worker.engine.kernels.check", str(library), str(openmp)]
    found = [path for path in sys.path if path]
    environment = {**os.environ, "OMP_NUM_THREADS": THREADS, "PYTHONPATH": os.pathsep.join(found)}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=CHECK_LIMIT, env=environment, text=True
        )
    except subprocess.TimeoutExpired:
        raise NoKernels(
            f"the check of the kernels did not end within {CHECK_LIMIT:.0f} s",
            "the next start checks them again",
        ) from None
    if done.returncode < 0 and -done.returncode in CRASHES:
        return Verdict(f"they crash with {signal.Signals(-done.returncode).name}")
    try:
        return Verdict(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NoKernels(
            f"the check of the kernels could not run (exit code {done.returncode}): {last[:200]}",
            "the next start checks them again",
        ) from None
