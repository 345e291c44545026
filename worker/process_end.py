"""Ends the worker process at once, with all processes that it started: for faults that only a
restart helps against."""

from __future__ import annotations

import logging
import multiprocessing
import os
from typing import NoReturn

log = logging.getLogger(__name__)

# Exit statuses. docs/reliability.md says what they mean.
WEDGED = 70  # the engine hangs, or a process of it died
GPU_LOST = 71  # another worker uses a GPU of this one


def end_process(status: int) -> NoReturn:
    """Kill the processes that the engine has started, and end this one; nothing is cleaned up."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)
