"""Reads the body of a request: unsupported fields are filtered out, the rest is validated."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from common.errors import InvalidRequest
from web.intake.validation_messages import MOST_FAULTS, M, validated
from web.openai import field_rules
from web.openai.answer_options import CHAT, COMPLETIONS, Endpoint
from web.openai.field_filter import FieldFilter, LogOnce
from web.openai.field_rules import FieldRule
from web.openai.requests import ChatRequest, CompletionRequest

log = logging.getLogger(__name__)
log_ignored = LogOnce(
    lambda name: log.info("%r has no effect and is ignored; this is logged once", name)
)

REQUESTS: dict[Endpoint, type[ChatRequest] | type[CompletionRequest]] = {
    CHAT: ChatRequest,
    COMPLETIONS: CompletionRequest,
}


RULES: dict[Endpoint, Mapping[str, FieldRule]] = {
    CHAT: field_rules.CHAT,
    COMPLETIONS: field_rules.COMPLETION,
}


def read_request(
    endpoint: Endpoint, body: Any, *, lenient: bool = False
) -> ChatRequest | CompletionRequest:
    """The body as the endpoint's request. Fields without effect are taken out and named in its
    `ignored`; with `lenient` unknown ones, too.

    Raises:
        InvalidRequest: with all that is wrong, each with its field.
    """
    request, filter_ = filtered(REQUESTS[endpoint], RULES[endpoint], body, lenient=lenient)
    request.set_filter(filter_)
    request.check_together()
    return request


def filtered(
    model: type[M], rules: Mapping[str, FieldRule], body: Any, *, lenient: bool
) -> tuple[M, FieldFilter]:
    """The body as the model, and the filter that took fields without effect out of it.

    Raises:
        InvalidRequest: with all that is wrong, each with its field.
    """
    filter_ = FieldFilter(lenient)
    kept = filter_.filter(body, rules, model.model_fields)
    errors = filter_.faults
    try:
        request = validated(model, kept)
    except InvalidRequest as error:
        errors = [*errors, *error.errors][:MOST_FAULTS]
    if errors:
        code = str(errors[0]["code"]) if len(errors) == 1 else None
        raise InvalidRequest(str(errors[0]["message"]), errors=errors, code=code)
    log_ignored(filter_.ignored)
    return request, filter_
