"""What keeps the kernels from being built or used is told once, and torch computes instead."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
import torch

from tests.unit.engine.fake_compiler import WRITES, FakeCompiler, fake_compiler, reason
from tests.unit.engine.tiny import build
from worker.engine.kernels import compiler, cpu, library, openmp
from worker.engine.kernels.build import prepare
from worker.engine.model.compose import compose


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCompiler:
    return fake_compiler(tmp_path, monkeypatch)


# Compilers that do not work


def test_what_a_failed_build_said_last_is_told(fake: FakeCompiler, tmp_path: Path) -> None:
    fake.does("seq 1 100000; echo 'kernels.cpp:7: no such intrinsic' >&2; exit 4")
    told = reason(tmp_path)
    assert "exit code 4" in told
    assert "no such intrinsic" in told
    assert len(told) < 600


def test_a_failed_build_is_tried_again(fake: FakeCompiler, tmp_path: Path) -> None:
    fake.does("exit 1")
    reason(tmp_path)
    fake.does(WRITES)
    assert prepare(tmp_path).library.exists()


def test_a_compiler_that_hangs_is_ended_with_its_children(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "COMPILE_LIMIT", 0.5)
    fake.does(f"sleep 300 & echo $! > {fake.started}; wait")
    assert "did not end within" in reason(tmp_path)
    child = Path(f"/proc/{fake.started.read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_a_compiler_that_writes_nothing_has_failed(fake: FakeCompiler, tmp_path: Path) -> None:
    fake.does("true")
    assert "failed to build" in reason(tmp_path)


def test_nothing_in_the_environment_adds_flags_or_headers(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/elsewhere")
    monkeypatch.setenv("GCC_EXEC_PREFIX", "/elsewhere")
    fake.does('env > "$last"')
    given = prepare(tmp_path).library.read_text()
    assert "/elsewhere" not in given
    assert f"PATH={os.environ['PATH']}" in given


def test_without_a_compiler_the_reason_says_what_to_install(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "apt install g++" in reason(tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "CXX='no-such-compiler'" in reason(tmp_path)


def test_clang_is_refused_because_of_its_openmp(fake: FakeCompiler, tmp_path: Path) -> None:
    text = Path(fake.path).read_text()
    Path(fake.path).write_text(text.replace("fake 1.0", "Debian clang version 14.0.6"))
    assert "CXX=g++" in reason(tmp_path)
    assert fake.count == 0


# What a worker logs


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not looked for kernels yet."""
    monkeypatch.setattr(library, "_loaded", None)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about what computes, for a model that is opened as a worker does."""
    caplog.set_level(logging.INFO)
    compose(build("llama", head_dim=32).to(torch.bfloat16), rows=2, context=64)
    return [line for line in caplog.messages if "torch computes" in line or "kernels" in line]


@pytest.mark.usefixtures("unloaded")
def test_a_worker_goes_on_with_torch_and_one_line_says_why(
    fake: FakeCompiler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.does("echo 'no such intrinsic'; exit 1")
    assert library.load(tmp_path) is None
    assert library.load(tmp_path) is None
    assert fake.count == 1
    (line,) = told(caplog)
    assert line.startswith("torch computes the steps: ")
    assert "no such intrinsic; a newer g++ may build them" in line


@pytest.mark.usefixtures("unloaded")
def test_whatever_goes_wrong_a_worker_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "prepare", lambda *_: 1 / 0)
    assert library.load(tmp_path) is None
    (line,) = told(caplog)
    assert "could not be loaded (ZeroDivisionError: division by zero)" in line


@pytest.mark.usefixtures("unloaded")
def test_a_damaged_library_is_told_with_its_path(
    fake: FakeCompiler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert library.load(tmp_path) is None  # the fake compiler wrote no library
    (line,) = told(caplog)
    assert "cannot be loaded" in line
    assert f"remove {prepare(tmp_path).library} to have them built anew" in line


def test_a_user_without_a_home_is_told_to_name_a_folder(
    fake: FakeCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # whom /etc/passwd does not know
    told = reason(Path("~/.cache/promptmill"))
    assert "has no home folder; name a folder with PROMPTMILL_CACHE" in told


# The CPU


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("flags\t\t: fpu avx2 fma\n", "avx512f"),
        (f"flags\t\t: fpu {' '.join(cpu.NEEDED[:-1])}\n", "avx512_vnni missing"),
        ("Features\t: fp asimd bf16\n", "avx512_bf16"),
        ("", "avx512_bf16"),
    ],
)
def test_a_cpu_without_the_instructions_is_told_which(
    text: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert missing in reason(tmp_path)


def test_a_cpu_with_the_instructions_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {' '.join(cpu.NEEDED)} sse\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    cpu.check_cpu()


def test_a_system_that_does_not_say_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "nothing")
    assert "what the CPU can do" in reason(tmp_path)


# OpenMP


@pytest.mark.parametrize(
    ("loaded", "told"),
    [
        ("/opt/my libraries/libiomp5.so", "loaded: libiomp5.so"),
        ("/usr/lib/libomp.so.5", "loaded: libomp.so.5"),
        ("/torch/lib/libgomp-a34b3233.so.1", "loaded: libgomp-a34b3233.so.1"),
        ("/usr/lib/libcompletely.so.1", "loaded: none"),
    ],
)
def test_a_torch_with_another_openmp_is_told(
    fake: FakeCompiler, loaded: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = "7f00-7f01 r-xp 00000000 08:01 11 "
    (tmp_path / "maps").write_text(f"{mapped}\n{mapped}[stack]\n{mapped}{loaded}\n")
    monkeypatch.setattr(openmp, "MAPS", tmp_path / "maps")
    assert told in reason(tmp_path)


def test_the_systems_own_openmp_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maps").write_text("7f00-7f01 r-xp 0 08:01 11 /usr/lib/libgomp.so.1.0.0\n")
    monkeypatch.setattr(openmp, "MAPS", tmp_path / "maps")
    assert openmp.gomp() == Path("/usr/lib/libgomp.so.1.0.0")
