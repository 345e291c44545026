"""What the validation of a file came to, kept with the file: another batch over it is not read
again.

A verdict holds for one endpoint, and as long as nothing else that it depends on has changed: the
model's card, the settings, this version, and for a good file the day, which chat templates may
tell.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version

from common.errors import NotFound
from web.intake.origin import Accepted
from web.openai.requests import Endpoint
from web.services.services import Services

DAY = 86400  # seconds


@dataclass(frozen=True)
class Verdict:
    """`model` is the one that the file's lines name, if any does; `errors` is JSON, as a batch's
    record keeps it, of a file that is wrong. Of a good one a job was made: `again`."""

    model: str | None
    depends: str
    errors: str = ""
    again: Accepted | None = None


def find(services: Services, file_id: str, endpoint: Endpoint) -> Verdict | None:
    """The verdict on a file, if there is one that still holds."""
    stored = services.files.verdict(file_id, endpoint)
    if stored is None:
        return None
    fields = json.loads(stored)
    again = Accepted(**fields.pop("again")) if fields.get("again") else None
    found = Verdict(**{**fields, "again": again})
    return found if found.depends == _depends(services, found.model, again) else None


def keep(
    services: Services,
    file_id: str,
    endpoint: Endpoint,
    model: str | None,
    *,
    errors: str = "",
    again: Accepted | None = None,
) -> None:
    """Keep what is wrong with a file, or the job that was made of it."""
    found = Verdict(model, _depends(services, model, again), errors, again)
    services.files.keep_verdict(file_id, endpoint, json.dumps(asdict(found)))


def _depends(services: Services, model: str | None, again: Accepted | None) -> str:
    """A digest of what a verdict depends on beside the file."""
    try:
        card = services.models.choose(model).card.model_dump_json() if model else ""
    except NotFound:
        card = "none"
    day = str(int(time.time()) // DAY) if again else ""
    parts = version("promptmill"), services.settings.model_dump_json(), card, day
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
