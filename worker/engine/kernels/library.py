"""Loads the compiled kernels once a process."""

from __future__ import annotations

import ctypes
import logging
import threading
from pathlib import Path

import torch  # noqa: F401  # its OpenMP runtime is the one that the kernels must find

from worker.engine.kernels.build import prepare, source_hash
from worker.engine.kernels.cache import Build
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
    torch must compute instead, and `refusal` says why. Later calls in a process return what the
    first returned."""
    found = _load_once(cache)
    return found if isinstance(found, Library) else None


def refusal() -> NoKernels | None:
    """Why `load` returned None."""
    return _loaded if isinstance(_loaded, NoKernels) else None


_loading = threading.Lock()
_loaded: Library | NoKernels | None = None  # None until `load` is called


def _load_once(cache: Path) -> Library | NoKernels:
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _load(cache)
        return _loaded


def _load(cache: Path) -> Library | NoKernels:
    try:
        return _open(prepare(cache))
    except NoKernels as reason:
        return reason
    except Exception as error:  # a worker can always go on without
        log.debug("the compiled kernels could not be loaded", exc_info=True)
        return NoKernels(
            f"the compiled kernels could not be loaded ({type(error).__name__}: {error})",
            "please report this",
        )


def _open(build: Build) -> Library:
    try:
        return Library(build.library, int8=build.verdict.int8)
    except OSError as error:  # its file was damaged, or the folder is mounted `noexec`
        raise NoKernels(
            f"the kernels that were built here cannot be loaded: {error}",
            f"remove {build.library} to have them built anew, or name another folder with "
            "PROMPTMILL_CACHE",
        ) from None
