"""A worker whose engine says that it lacks some decoding parameters.

`celery -A tests.integration.worker.lacking worker`.
"""

from __future__ import annotations

from tests.support.lacking import LACKED
from worker.app import app
from worker.echo import EchoEngine

__all__ = ["app"]

EchoEngine.honours = EchoEngine.honours - LACKED.keys()
