"""Loads the compiled kernels once a process."""

from __future__ import annotations

import ctypes
import logging
import threading
from pathlib import Path

import torch  # noqa: F401  # its OpenMP runtime is the one that the kernels must find

from worker.engine.kernels.build import prepare, source_hash
from worker.engine.kernels.no_kernels import NoKernels
from worker.engine.kernels.signatures import declare

log = logging.getLogger(__name__)

CACHE = Path("~/.cache/promptmill")  # the default of the setting `cache`


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
    """The compiled kernels, built now if the folder `cache` lacks them (in some 15 s); None if
    torch must compute instead, and the log says why. Later calls in a process return what the first
    returned."""
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = (_load(cache),)
        return _loaded[0]


_loading = threading.Lock()
_loaded: tuple[Library | None] | None = None  # what `load` returns, once it has been called


def _load(cache: Path) -> Library | None:
    try:
        build = prepare(cache)
        library = Library(build.library, int8=build.verdict.int8)
    except NoKernels as reason:
        # There is nothing to warn of where nothing can be done about it.
        level = logging.WARNING if reason.fix else logging.INFO
        log.log(level, "torch computes in place of the compiled kernels: %s", reason)
        return None
    except Exception as error:  # a worker can always go on without
        log.warning(
            "torch computes in place of the compiled kernels, which could not be loaded (%s: %s)",
            type(error).__name__,
            error,
        )
        return None
    log.info("compiled kernels %s", library.name)
    return library
