"""The compiled kernels are built once, and kept where only we can write."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.unit.engine.fake_compiler import WRITES, FakeCompiler, fake_compiler, reason
from worker.engine.kernels import build, cache
from worker.engine.kernels.build import look, prepare
from worker.engine.kernels.cache import KernelCache

# A worker's process: what it would load, with a check that always passes.
PREPARE = """
import sys
from pathlib import Path
from worker.engine.kernels import build
from worker.engine.kernels.cache import Verdict
build.check_cpu = lambda: None
build.judge = lambda *_: Verdict("", int8=True)
build.gomp = lambda: Path("libgomp.so.1")  # torch takes seconds to import
print(build.prepare(Path(sys.argv[1])).library)
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCompiler:
    return fake_compiler(tmp_path, monkeypatch)


def worker(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(folder)], stdout=subprocess.PIPE, text=True
    )


# Building


def test_a_second_start_takes_what_the_first_built(
    fake: FakeCompiler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = prepare(tmp_path / "cache")
    assert prepare(tmp_path / "cache") == first
    assert first.library.read_text() == "library\n"
    assert fake.count == 1
    before, after = caplog.messages
    assert before.startswith("building the kernels for this CPU (once, about ")
    assert after.startswith("the kernels were built in ")


def test_two_workers_that_start_at_once_build_once(fake: FakeCompiler, tmp_path: Path) -> None:
    fake.does(f"sleep 0.5; {WRITES}")
    workers = [worker(tmp_path / "cache") for _ in range(2)]
    said = {process.communicate(timeout=30)[0] for process in workers}
    assert len(said) == 1
    assert Path(said.pop().strip()).exists()
    assert fake.count == 1


def test_a_killed_builder_holds_up_nobody(fake: FakeCompiler, tmp_path: Path) -> None:
    fake.does(f"echo $$ > {fake.started}; exec sleep 30")
    killed = worker(tmp_path / "cache")
    try:
        while not (fake.started.exists() and fake.started.read_text()):
            assert killed.poll() is None
            time.sleep(0.01)
    finally:
        killed.kill()
        killed.communicate(timeout=10)
        os.kill(int(fake.started.read_text()), signal.SIGKILL)
    folder = tmp_path / "cache" / "kernels"
    (left,) = folder.glob("*.part")
    fake.does(WRITES)
    assert prepare(tmp_path / "cache").library.exists()
    assert not left.exists()


def test_waiting_for_another_builder_has_an_end(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LOCK_WAIT", 0.2)
    with KernelCache(tmp_path).lock():
        assert "another process has been building" in reason(tmp_path)
    assert prepare(tmp_path).library.exists()


def test_another_compiler_and_other_sources_are_other_builds(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {prepare(tmp_path).library}
    text = Path(fake.path).read_text()
    Path(fake.path).write_text(text.replace("fake 1.0", "fake 1.1"))
    found.add(prepare(tmp_path).library)
    monkeypatch.setattr(build, "source_hash", lambda: "changed")
    found.add(prepare(tmp_path).library)
    monkeypatch.setattr(build, "FLAGS", ("-O0",))
    found.add(prepare(tmp_path).library)
    assert len(found) == fake.count == 4


def test_builds_that_were_not_used_lately_are_removed(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEPT", 2)
    for number, sources in enumerate(("a", "b", "a", "c")):
        monkeypatch.setattr(build, "source_hash", lambda sources=sources: sources)
        used = prepare(tmp_path).library
        os.utime(used, (number, number))
    assert fake.count == 3  # `a` was used again, so `b` went
    monkeypatch.setattr(build, "source_hash", lambda: "a")
    prepare(tmp_path)
    assert fake.count == 3
    assert len(list((tmp_path / "kernels").glob("*.so"))) == 2
    assert len(list((tmp_path / "kernels").glob("*.json"))) == 2


# The folder


def test_a_folder_that_others_can_write_to_is_refused(fake: FakeCompiler, tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "kernels").chmod(0o770)
    assert "open to other users (mode 770)" in reason(tmp_path)


def test_a_folder_of_another_user_is_refused(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "and this is user 12345" in reason(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(fake: FakeCompiler, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = reason(tmp_path / "file")
    assert "cannot be written to" in told
    assert "PROMPTMILL_CACHE" in told


def test_a_link_to_another_folder_is_refused(fake: FakeCompiler, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "kernels").symlink_to(tmp_path / "elsewhere")
    assert "is no folder" in reason(tmp_path)


def test_the_folder_is_ours_alone(fake: FakeCompiler, tmp_path: Path) -> None:
    library = prepare(tmp_path / "deep" / "cache").library
    assert library.parent.stat().st_mode & 0o777 == 0o700


def test_the_folder_may_be_named_from_the_current_one(
    fake: FakeCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the compiler runs in another folder
    assert prepare(Path("here")).library.parent == tmp_path / "here" / "kernels"


# What lies there


def test_looking_builds_nothing(fake: FakeCompiler, tmp_path: Path) -> None:
    assert look(tmp_path) is None
    assert list(tmp_path.glob("kernels*")) == []
    built = prepare(tmp_path)
    assert look(tmp_path) == built


@pytest.mark.parametrize("kept", ["", "{", '{"why": ""}x', '{"other": 1}', "[]"])
def test_a_verdict_that_cannot_be_read_is_none(
    fake: FakeCompiler, tmp_path: Path, kept: str
) -> None:
    built = prepare(tmp_path).library
    built.with_suffix(".json").write_text(kept)
    prepare(tmp_path)
    assert fake.count == 2
