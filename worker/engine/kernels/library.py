"""Loads the compiled kernels once a process."""

from __future__ import annotations

import ctypes
import logging
import threading
from pathlib import Path

import torch  # noqa: F401  # its OpenMP runtime is the one that the kernels must find

from worker.engine.kernels.build import NoKernels, build, source_hash
from worker.engine.kernels.signatures import declare

log = logging.getLogger(__name__)

CACHE = Path("~/.cache/promptmill")
_loading = threading.Lock()


class Library:
    """The compiled kernels of this process; `functions` has what `signatures.py` declares."""

    def __init__(self, path: Path, *, int8: bool):
        self.functions = ctypes.CDLL(str(path))
        declare(self.functions)
        self.name = f"avx512_bf16-{source_hash()[:12]}"
        self.int8 = int8  # whether the int8 products may be used

    def calls(self) -> int:
        """How many of the kernels' functions have been called in this process."""
        return int(self.functions.pm_calls())


def load(cache: Path = CACHE) -> Library | None:
    """The compiled kernels, built if `cache` lacks them; None if torch must compute instead, and
    the log says why. Later calls in a process return what the first returned."""
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = (_load(cache),)
        return _loaded[0]


_loaded: tuple[Library | None] | None = None  # what `load` returns, once it has been called


def _load(cache: Path) -> Library | None:
    try:
        return Library(build(cache), int8=True)
    except (NoKernels, OSError, AttributeError) as reason:
        log.warning("torch computes in place of the compiled kernels: %s", reason)
        return None
