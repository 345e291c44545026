"""Runs first in each process that vLLM starts for this engine, instead of the program that the
worker was started with: such a process ends with the worker, however that ends.

vLLM's own watch over its parent begins when the model is loaded, and then takes some ten seconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "PARENT_OF_VLLM"  # the variable with the process id of what such a process ends with
PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; only Linux can."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


# So multiprocessing names the main module of a process that it has spawned.
if __name__ == "__mp_main__":
    end_with(int(os.environ[PARENT]))
    os.environ[PARENT] = str(os.getpid())  # what it spawns itself runs this, too
