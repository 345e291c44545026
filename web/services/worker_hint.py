"""What to do about a model that no worker serves: a sentence, and a command that starts one."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import NotFound
from common.types import ModelCard
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
    card = _card(services, name) if name else None
    base, source = (card.base or name, card.source) if card else (name, "")
    adapter = card.adapter or "" if card else ""
    command = worker_command(base, source, data=data, ours=ours, adapter=adapter)
    if data and base == ours:
        return WorkerHint(
            "`promptmill up` is loading it, or starts it again; its log is in the folder logs of "
            "the data folder. One more worker:",
            command,
        )
    return WorkerHint("Start one:", command)


def _card(services: Services, model: str) -> ModelCard | None:
    """The model's card; None if it was not seen yet."""
    try:
        return services.fleet.model(services.models.served_name(model))
    except NotFound:
        return None
