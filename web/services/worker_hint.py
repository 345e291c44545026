"""What to do about a model that no worker serves: a sentence, and a command that starts one."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import NotFound
from common.worker_command import data_folder, worker_command
from web.services.services import Services


@dataclass(frozen=True)
class WorkerHint:
    """`command` is for a shell on the machine of the workers."""

    text: str
    command: str


def worker_hint(services: Services, model: str | None = None) -> WorkerHint:
    """About one model, or about none that was ever served."""
    data, ours = data_folder(), services.settings.model_name
    name = model or (ours if data else "")
    source = _source(services, name) if name else ""
    command = worker_command(name, source, data=data, ours=ours)
    if data and name == ours:
        return WorkerHint(
            "`promptmill up` is loading it, or starts it again; its log is in the folder logs of "
            "the data folder. One more worker:",
            command,
        )
    return WorkerHint("Start one:", command)


def _source(services: Services, model: str) -> str:
    """The hub id that a model is loaded from; "" for a folder, and for a model not seen yet."""
    try:
        return services.fleet.model(services.models.served_name(model)).source
    except NotFound:
        return ""
