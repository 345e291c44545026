"""`up` says what happens while the model loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.loading import EVERY, Loading
from common.settings import Settings


def test_loading_is_told_at_once_now_and_then_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("cli.loading.time.monotonic", lambda: clock[0])
    lines: list[str] = []
    loading = Loading(Settings.load(model="gpt2"), tmp_path, lines.append)
    assert lines == ["Loading gpt2 …"]
    loading.look(ready=False)
    clock[0] += EVERY
    loading.look(ready=False)
    assert lines[1:] == [f"Still loading gpt2, 10 s: no output yet ({tmp_path}/worker-1.log)"]
    (tmp_path / "worker-1.log").write_text("first\nLoading: 1%\rLoading: 50%\n\n")
    clock[0] += EVERY / 2
    loading.look(ready=False)
    clock[0] += EVERY / 2
    loading.look(ready=False)
    assert lines[2:] == [f"Still loading gpt2, 20 s: Loading: 50% ({tmp_path}/worker-1.log)"]
    assert not loading.done
    loading.look(ready=True)
    assert lines[3:] == ["Ready: gpt2 is loaded."] and loading.done


def test_what_is_served_beside_the_model_is_named_at_the_end(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = Settings.load(engine="vllm", model="llama", adapters="law=/data/law,med=/data/med")
    Loading(settings, tmp_path, lines.append).look(ready=True)
    assert lines[1:] == ["Ready: llama is loaded. Beside it: llama:law, llama:med."]
