"""What the validation of a file came to, kept with the file: another batch over it is not read again.

A verdict holds for one endpoint, and as long as nothing else that it depends on has changed: the model's card, the
settings, and this version. It names all that is wrong with the file; what is right of it is read anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version

from common.errors import NotFound
from web.dialect.requests import Endpoint
from web.services import Services


@dataclass(frozen=True)
class Verdict:
    """`model` is the one that the file's lines name, if any does; `errors` is JSON, as a batch's record keeps it."""

    model: str | None
    depends: str
    errors: str


def find(services: Services, file_id: str, endpoint: Endpoint) -> Verdict | None:
    """What is wrong with a file, if that is known and still holds."""
    stored = services.files.verdict(file_id, endpoint)
    if stored is None:
        return None
    found = Verdict(**json.loads(stored))
    return found if found.depends == _depends(services, found.model) else None


def keep(services: Services, file_id: str, endpoint: Endpoint, model: str | None, errors: str) -> None:
    found = Verdict(model, _depends(services, model), errors)
    services.files.keep_verdict(file_id, endpoint, json.dumps(asdict(found)))


def _depends(services: Services, model: str | None) -> str:
    """A digest of what a verdict depends on beside the file."""
    try:
        card = services.cards.choose(model).card.model_dump_json() if model else ""
    except NotFound:
        card = "none"
    parts = version("promptmill"), services.settings.model_dump_json(), card
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
