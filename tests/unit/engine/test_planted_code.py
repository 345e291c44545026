"""Python files in a model's folder are never run, whatever is typed on the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.unit.engine.test_models import save
from tests.unit.engine.tiny import build

OPEN = """
import sys
from common.errors import ConfigError
from worker.models import open_model
for folder in sys.argv[1:]:
    try:
        open_model(folder, dtype="float32", device="cpu", slots=2)
    except ConfigError as error:
        print("refused:", error)
"""
PLANTED = """
from pathlib import Path
from transformers import {base}
Path(__file__).with_name("ran").touch()
class Planted({base}):
    model_type = "planted"
"""


CASES: list[tuple[str, str, dict[str, object]]] = [
    (
        "config.json",
        "PretrainedConfig",
        {"model_type": "planted", "auto_map": {"AutoConfig": "planted.Planted"}},
    ),
    ("config.json", "LlamaForCausalLM", {"auto_map": {"AutoModelForCausalLM": "planted.Planted"}}),
    (
        "tokenizer_config.json",
        "PreTrainedTokenizerFast",
        {"tokenizer_class": "Planted", "auto_map": {"AutoTokenizer": [None, "planted.Planted"]}},
    ),
]


def plant(folder: Path, file: str, base: str, fields: dict[str, object]) -> None:
    (folder / "planted.py").write_text(PLANTED.format(base=base))
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(found | fields))


def test_code_beside_the_weights_is_not_run_though_a_terminal_says_yes(tmp_path: Path) -> None:
    folders = [save(build("llama"), tmp_path / f"model-{number}") for number in range(len(CASES))]
    for folder, case in zip(folders, CASES, strict=True):
        plant(folder, *case)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN, *map(str, folders)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    os.write(ours, b"y\n" * 9)
    try:
        told, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0, told
    assert not list(tmp_path.rglob("ran"))
    assert b"[y/N]" not in told
