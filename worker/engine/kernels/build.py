"""Gets the compiled kernels: from the cache, or built there and checked, once for this CPU."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from worker.engine.kernels.cache import Build, KernelCache
from worker.engine.kernels.compiler import FLAGS, Compiler
from worker.engine.kernels.cpu import check_cpu
from worker.engine.kernels.judge import CHECK, judge
from worker.engine.kernels.no_kernels import NoKernels
from worker.engine.kernels.openmp import gomp

log = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "source"
ABOUT = 15  # seconds that a build takes


def source_hash() -> str:
    """The SHA-256 of every source file, names included, as hexadecimal digits."""
    seen = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        text = file.read_bytes()
        seen.update(f"{file.name}\n{len(text)}\n".encode() + text)
    return seen.hexdigest()


def prepare(cache: Path) -> Build:
    """A build that may be used, made now if the folder `cache` has none. Import torch first: the
    kernels run on its OpenMP.

    Raises:
        NoKernels: there is none, and why.
    """
    check_cpu()
    openmp, compiler = gomp(), Compiler.find()
    kept = KernelCache(cache)
    key = _key(compiler, openmp)
    found = kept.find(key)
    if not found:
        with kept.lock():
            # Another process may have built it while this one waited.
            found = kept.find(key) or _build(kept, key, compiler, openmp)
    return _trusted(found)


def look(cache: Path) -> Build | None:
    """What `prepare` would find without building; None if it would build. Import torch first.

    Raises:
        NoKernels: it would have no kernels, as far as can be told without building.
    """
    check_cpu()
    openmp, compiler = gomp(), Compiler.find()
    found = KernelCache(cache).find(_key(compiler, openmp))
    return _trusted(found) if found else None


def _trusted(build: Build) -> Build:
    if build.verdict.why:
        raise NoKernels(
            f"the kernels that were built here failed their check: {build.verdict.why}",
            f"remove {build.library} to have them built and checked anew, with another g++ perhaps",
        )
    return build


def _build(kept: KernelCache, key: str, compiler: Compiler, openmp: Path) -> Build:
    log.info("building the kernels for this CPU (once, about %d s)", ABOUT)
    began = time.monotonic()
    with kept.workplace() as work:
        library = work / "kernels.so"
        compiler.compile(SOURCE / "kernels.cpp", library)
        log.info("the kernels were built in %.0f s", time.monotonic() - began)
        return kept.keep(key, library, judge(library, openmp))


def _key(compiler: Compiler, openmp: Path) -> str:
    """A name for all that a build and its check depend on."""
    try:
        ours = version("promptmill")
    except PackageNotFoundError:  # run from a folder, not installed
        ours = ""
    parts = [
        compiler.version,
        compiler.instructions,
        FLAGS,
        source_hash(),
        [file.read_text(encoding="utf-8") for file in CHECK],
        openmp.name,
        ours,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
