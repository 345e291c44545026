"""The result of validating a file, kept with the file: the next batch with the file does not
validate it again.

A result is for one endpoint. It is valid as long as nothing else that it depends on has changed:
the model card, the settings, the version of promptmill, and for a file without errors the day,
because chat templates may contain the date.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version

from common.errors import NotFound
from web.intake.origin import Accepted
from web.openai.answer_options import Endpoint
from web.services.services import Services

DAY = 86400  # seconds


@dataclass(frozen=True)
class CachedValidation:
    """`model` is the one that the lines name, if any does. `errors` are those of a file with
    errors, as JSON that a batch's record keeps; `again` is what was accepted of a file without.
    `depends` is the digest of what the result depends on.

    The names of the fields are stored: another name would make stored results unreadable."""

    model: str | None
    depends: str
    errors: str = ""
    again: Accepted | None = None


def find(services: Services, file_id: str, endpoint: Endpoint) -> CachedValidation | None:
    """The result for a file, if there is one that is still valid."""
    stored = services.files.verdict(file_id, endpoint)
    if stored is None:
        return None
    fields = json.loads(stored)
    again = Accepted(**fields.pop("again")) if fields.get("again") else None
    found = CachedValidation(**{**fields, "again": again})
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
    """Store the errors of a file, or what was accepted of it."""
    found = CachedValidation(model, _depends(services, model, again), errors, again)
    services.files.keep_verdict(file_id, endpoint, json.dumps(asdict(found)))


def _depends(services: Services, model: str | None, again: Accepted | None) -> str:
    """A digest of what a result depends on beside the file."""
    try:
        card = services.models.choose(model).card.model_dump_json() if model else ""
    except NotFound:
        card = "none"
    day = str(int(time.time()) // DAY) if again else ""
    parts = version("promptmill"), services.settings.model_dump_json(), card, day
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
