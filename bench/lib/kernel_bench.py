"""What the benches of single kernels share: their option, the library, and the line of JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import worker.engine  # noqa: F401  # isort: skip - before torch: see there
import torch

from bench.lib.machine import commit, device
from worker.engine.kernels.library import Library, load


def run(bench: str, description: str, measure: Callable[[Library], dict[str, Any]]) -> None:
    """Print what `measure` finds with the compiled kernels; exit without them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    library = load()
    if library is None:
        raise SystemExit("no compiled kernels here: the log says why")
    with torch.inference_mode():
        found = measure(library)
    about = {"kernels": library.name, "commit": commit(), "device": device()}
    print(json.dumps({"bench": bench, **found, "threads": torch.get_num_threads(), **about}))
