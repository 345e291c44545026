"""The machine's C++ compiler: which one it is, and running it within a bounded time.

What it compiles, with which flags and in which environment is fixed here. Only who starts the
worker chooses the compiler (`CXX`, `PATH`); nothing that a job says reaches it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.engine.kernels.no_kernels import NoKernels

FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fopenmp",
    # The order of arithmetic is the source's, not the compiler's: fma where it is written.
    "-ffp-contract=off",
    "-shared",
    "-fPIC",
)
COMPILE_LIMIT = 120.0  # seconds
ASK_LIMIT = 20.0  # seconds to say its version
LAST_BYTES = 2**16  # of a command's output, that are looked at
LAST_LINES = 3  # of the compiler's output, that are told when it fails
LONGEST_LINE = 200  # characters
INSTALL = "install g++ (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"
# Of the environment, the compiler gets only what it needs to run: no variable adds flags, headers
# or libraries.
PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Compiler:
    """A g++ of this machine."""

    command: tuple[str, ...]
    version: str
    instructions: str  # what `-march=native` stands for here

    @classmethod
    def find(cls) -> Compiler:
        """The compiler that `CXX` names, else `g++`, else `c++`.

        Raises:
            NoKernels: there is none, it does not answer, or it is not gcc's.
        """
        command = _command()
        version = _ask((*command, "--version"))
        if "clang" in version:
            # Its OpenMP is libomp, and torch has loaded libgomp.
            raise NoKernels(
                f"{command[0]} is clang, and the kernels need gcc's OpenMP",
                f"set CXX=g++, or {INSTALL}",
            )
        return cls(command, version, _ask((*command, "-march=native", "-Q", "--help=target")))

    def compile(self, source: Path, to: Path) -> None:
        """Compile the file `source` to the shared library `to`.

        Raises:
            NoKernels: it failed or took too long.
        """
        command = (*self.command, *FLAGS, str(source), "-o", str(to))
        code, output = _run(command, COMPILE_LIMIT, to.parent)
        if code or not to.exists():
            raise NoKernels(
                f"{self.command[0]} failed to build the kernels (exit code {code}): "
                f"{_last_lines(output)}",
                "a newer g++ may build them (12 does)",
            )


def _command() -> tuple[str, ...]:
    """The command of the compiler, as an absolute path and perhaps arguments (`ccache g++`)."""
    wanted = os.environ.get("CXX", "")
    try:
        candidates = [shlex.split(wanted)] if wanted.strip() else [["g++"], ["c++"]]
    except ValueError as error:
        raise NoKernels(f"CXX={wanted!r} is no command: {error}", "name a compiler: g++") from None
    for name, *arguments in candidates:
        if path := shutil.which(name):
            return (path, *arguments)
    if wanted.strip():
        raise NoKernels(f"CXX={wanted!r}: there is no such program", f"set CXX=g++, or {INSTALL}")
    raise NoKernels("there is no C++ compiler that could build the kernels", INSTALL)


def _ask(command: tuple[str, ...]) -> str:
    code, output = _run(command, ASK_LIMIT)
    if code:
        raise NoKernels(
            f"`{shlex.join(command)}` failed (exit code {code}): {_last_lines(output)}",
            f"set CXX to a gcc that works, or {INSTALL}",
        )
    return output


def _run(command: tuple[str, ...], limit: float, work: Path | None = None) -> tuple[int, str]:
    """Run a command; returns its exit code and the end of what it said.

    Raises:
        NoKernels: it cannot be run, or took more than `limit` seconds.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment["LC_ALL"] = "C"
    if work:
        environment["TMPDIR"] = str(work)
    with tempfile.TemporaryFile(dir=work) as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd=work,
                start_new_session=True,  # so that its own children end with it
            )
        except OSError as error:
            raise NoKernels(f"{command[0]} cannot be run: {error}", INSTALL) from None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise NoKernels(
                f"{command[0]} did not end within {limit:.0f} s",
                "the next start tries again; see what else the machine computes",
            ) from None
        finally:
            _end(process)
        said.seek(max(0, said.seek(0, os.SEEK_END) - LAST_BYTES))
        return code, said.read(LAST_BYTES).decode(errors="replace")


def _end(process: subprocess.Popen) -> None:
    """End the process, if it has not ended, and those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_lines(output: str) -> str:
    lines = [line.strip()[:LONGEST_LINE] for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-LAST_LINES:]) or "it said nothing"
