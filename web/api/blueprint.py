"""The native API's blueprint. The views are in the other modules of this package; `register.py`
adds them to the app."""

from __future__ import annotations

from flask import Blueprint

from web.wire.bodies import refuse_unread
from web.wire.error_answers import answer_errors
from web.wire.problem import ProblemShape

api = Blueprint("api", __name__)
api.before_request(refuse_unread)
# Errors on these paths, and under them, are problem+json.
PATHS = (
    *("/v1/jobs", "/v1/comparisons", "/v1/evaluations", "/v1/presets"),
    *("/v1/studies", "/v1/sweeps", "/v1/workers"),
    *("/metrics", "/health", "/healthz", "/readyz"),
)
answer_errors(api, ProblemShape(), *PATHS)
