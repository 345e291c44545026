"""Imported by vLLM in each process that it starts for this engine, before it loads the model there:
such a process ends with the one that started it, however that ends.

vLLM's own watch over its parent begins when the model is loaded, and then takes some ten seconds.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


class EndsWithParent:
    """What vLLM mixes into the class of its workers; nothing, the import is what matters."""


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Does nothing where vLLM computes in
    the process that loaded it, and on other systems than Linux."""
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it has ended already
        os._exit(1)


end_with_parent()
