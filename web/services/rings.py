"""Wakes workers after something was stored for them. The store has it by then, so a ring that fails
is only logged: the next tick rings again."""

from __future__ import annotations

import logging

from common.errors import Unavailable
from web.services.services import Services

log = logging.getLogger(__name__)


def ring_workers(services: Services, model: str, rings: int, job_id: str) -> None:
    """Ring for so many workers of a model, of which the store found that they do not listen."""
    try:
        services.ring_sender.send(model, rings)
    except Unavailable as error:
        log.warning("submitted, but no worker could be rung: %s", error, extra={"job": job_id})


def ring_evaluator(services: Services, evaluation_id: str) -> None:
    """Ring for a process that evaluates."""
    try:
        services.ring_sender.wake_evaluator()
    except Unavailable as error:
        log.warning("no evaluator could be rung: %s", error, extra={"evaluation": evaluation_id})


def ring_deliveries(services: Services, job_id: str) -> None:
    """Ring for the worker that delivers webhooks."""
    try:
        services.ring_sender.wake_webhooks()
    except Unavailable as error:
        log.warning("the webhook worker could not be rung: %s", error, extra={"job": job_id})
