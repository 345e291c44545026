"""The command that starts a worker for a model, as it works on this machine."""

from __future__ import annotations

import os
import shlex

DATA = "PROMPTMILL_DATA"  # `promptmill up` sets it for its parts: its data folder


def worker_command(
    model: str, source: str = "", *, data: str = "", ours: str = "", adapter: str = ""
) -> str:
    """A command for a shell.

    `model` is the name that jobs use, "" for any, and `source` the hub id that it is loaded from,
    "" if that is not known. `data` is the data folder of the `promptmill up` that runs here, if one
    does, and `ours` the name of the model that it serves: `worker --data` knows that one. With the
    `adapter` of a model, its worker serves that, too.
    """
    parts = [] if data else ["REDIS_URL=…"]
    if not (data and model == ours):
        parts.append(f"PROMPTMILL_MODEL={shlex.quote(source) if source else '…'}")
        if model and source != model:
            parts.append(f"PROMPTMILL_SERVED_NAME={shlex.quote(model)}")
        if adapter:
            parts.append(f"PROMPTMILL_ENGINE=vllm PROMPTMILL_ADAPTERS={shlex.quote(adapter)}=…")
    parts.append("promptmill worker")
    if data:
        parts.append(f"--data {shlex.quote(data)}")
    return " ".join(parts)


def none_yet() -> str:
    """What to do where no model was ever served."""
    if data_folder():
        return "`promptmill up` is still loading its model; try again when it says that it is ready"
    return "start a worker (`promptmill worker`)"


def data_folder() -> str:
    """The data folder of the `promptmill up` whose part this process is; "" if it is none."""
    return os.environ.get(DATA, "")
