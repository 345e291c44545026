"""The folder in which built kernels are kept, each with the verdict of its check.

A worker loads what lies here into its process, so the folder must belong to the worker's user and
be closed to all others. Beside `KEY.so` lies `KEY.json`, written after it: a build without its
verdict counts as none.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.engine.kernels.no_kernels import NoKernels

log = logging.getLogger(__name__)

KEPT = 8  # builds, those used last: of other versions, and of other machines that share the folder
LOCK_WAIT = 120.0  # seconds for another process to build
LOOK_AGAIN = 0.1  # seconds
PART = ".part"  # what the name of a folder ends with in which something is being built


@dataclass(frozen=True)
class Verdict:
    """What the check of a build found: why it must not be used ("" if it may be), and whether its
    products of int8 may be used."""

    why: str
    int8: bool = False


@dataclass(frozen=True)
class Build:
    """A library that was built and checked."""

    library: Path
    verdict: Verdict


class KernelCache:
    """The builds in the folder `kernels` of the cache folder.

    Raises:
        NoKernels: the cache is in the home folder, and this user has none.
    """

    def __init__(self, cache: Path):
        try:
            # The compiler and the check run in other folders than the worker.
            self.folder = cache.expanduser().absolute() / "kernels"
        except RuntimeError:
            raise NoKernels(
                f"{cache} cannot be found: this user ({os.geteuid()}) has no home folder",
                "name a folder with PROMPTMILL_CACHE",
            ) from None

    def find(self, key: str) -> Build | None:
        """The build of `key`, if there is one.

        Raises:
            NoKernels: others can write to the folder.
        """
        self._check_folder()
        library, verdict = self.library(key), self._verdict(key)
        try:
            found = Build(library, Verdict(**json.loads(verdict.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            return None
        with suppress(OSError):  # a folder that is only read will do
            os.utime(library)  # used last
        return found if library.exists() else None

    def library(self, key: str) -> Path:
        return self.folder / f"{key}.so"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder, and let no other process build. The system drops the lock of a process
        that ends, however it ends.

        Raises:
            NoKernels: another process builds for too long, or the folder cannot be used.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            file = (self.folder / "lock").open("w")
        except OSError as error:
            raise NoKernels(
                f"{self.folder} cannot be written to: {error}",
                "name another folder with PROMPTMILL_CACHE",
            ) from None
        with file:
            self._wait_for(file.fileno())
            yield

    def _wait_for(self, file: int) -> None:
        deadline, told = time.monotonic() + LOCK_WAIT, False
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NoKernels(
                        f"another process has been building the kernels for {LOCK_WAIT:.0f} s",
                        "the next start looks again",
                    ) from None
            if not told:
                log.info("another process builds the kernels; waiting for it")
                told = True
            time.sleep(LOOK_AGAIN)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty folder to build in, gone afterwards. Call it with the lock: what other builders
        left there is removed, and they are dead."""
        for left in self.folder.glob(f"*{PART}"):
            shutil.rmtree(left, ignore_errors=True)
        work = self.folder / f"{os.getpid()}{PART}"
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def keep(self, key: str, built: Path, verdict: Verdict) -> Build:
        """Put what was built in its place, and remove old builds."""
        written = built.with_suffix(".json")
        written.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        with built.open("rb") as file:
            os.fsync(file.fileno())  # half a library, after a power failure, would end each worker
        built.replace(self.library(key))
        written.replace(self._verdict(key))
        self._remove_old()
        return Build(self.library(key), verdict)

    def _verdict(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _remove_old(self) -> None:
        libraries = sorted(self.folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
        for old in libraries[:-KEPT]:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink(missing_ok=True)  # a process that has loaded it keeps it

    def _check_folder(self) -> None:
        """Check that only we can write to the folder; it need not exist.

        Raises:
            NoKernels: others could put libraries there.
        """
        try:
            found = self.folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISDIR(found.st_mode):
            raise NoKernels(f"{self.folder} is no folder", "remove it")
        if found.st_uid != os.geteuid():
            raise NoKernels(
                f"{self.folder} belongs to user {found.st_uid}, and this is user {os.geteuid()}: "
                "what lies there is not trusted",
                "name a folder of this user with PROMPTMILL_CACHE",
            )
        if found.st_mode & 0o077:
            raise NoKernels(
                f"{self.folder} is open to other users (mode {found.st_mode & 0o777:o}): what lies "
                "there is not trusted",
                f"remove it: rm -r {self.folder}",
            )
