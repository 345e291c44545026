"""What users get to read of errors that end requests."""

from __future__ import annotations

import logging
import secrets

from common.errors import EngineError
from worker.engine.scheduling.drawn import Fault

log = logging.getLogger(__name__)

# Faults that end a continuation and keep its text, and what users read of them.
KEPT: dict[Fault, str] = {
    "grammar_too_complex": "the output format became too complex to follow here; the text up to "
    "there is kept. A simpler format, with fewer alternatives and repetitions, may help",
    "no_token_left": "logit_bias, penalties, no_repeat_ngram_size or bad_words leave no token that "
    "may come here; the text up to there is kept",
}


def told_error(request_id: str, error: Exception) -> tuple[str, str]:
    """What the user gets to read of an error, as `(code, message)`. Errors of other libraries may
    quote the text of any user, so their messages go to the log only."""
    if isinstance(error, EngineError):
        return error.code, error.message
    reference = secrets.token_hex(4)
    log.error("request %s failed, reference %s", request_id, reference, exc_info=error)
    return (
        EngineError.code,
        f"generating this failed; the worker's log has the details under reference {reference}",
    )
