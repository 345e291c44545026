"""The webhook worker: `celery -A worker.webhooks worker -Q webhooks`. Posts signed events to
whoever a job named.

A Celery app of its own, so that a slow receiver never keeps a GPU waiting and this worker's image
needs no torch. The message is a ring like any other: what is to be delivered, and when, is in the
outbox (`common/store/outbox.py`).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from celery import Celery, bootsteps, signals
from pydantic_core import to_json

from common import log as logs
from common.allowed import Allowed
from common.errors import ConfigError, InvalidRequest, NotFound, Unavailable
from common.rings import DELIVER, WEBHOOK_QUEUE, Bell, celery_app
from common.settings import Settings
from common.signing import sign
from common.store.accounts import Accounts
from common.store.batches import Batches
from common.store.connection import START_WAIT, connect, when_up
from common.store.fleet import Fleet
from common.store.jobs import JobStore
from common.store.outbox import Deliveries, Event, HookState, Outcome
from common.store.packing import one_line
from common.store.version import meet_store
from worker.receivers import Refused, Turnstile, Unreachable, post
from worker.ticker import Ticker

LEASE_MARGIN = 5.0  # seconds on top of the receiver's timeout: what claiming and recording may take
# All they do is wait for others; several tenants with as many deliveries as they may leave some
# free.
THREADS = 32
REDIS_WAIT = 2.0  # seconds for a reply: whoever hangs on a dead connection must be back soon
HEADERS = {"content-type": "application/json", "user-agent": "promptmill-webhooks/1"}

log = logging.getLogger(__name__)


class Courier:
    """Takes due events to their receivers. Safe for threads: each event is claimed by one of
    them."""

    def __init__(self, settings: Settings):
        client = connect(settings.redis_url, socket_timeout=REDIS_WAIT)
        self._store = JobStore(client)
        self._batches = Batches(client)
        self._accounts = Accounts(client)
        self._allowed = Allowed.parse(settings.webhook_allow)
        self._timeout = settings.webhook_timeout
        self._deliveries = Deliveries(
            client,
            lease=settings.webhook_timeout + LEASE_MARGIN,
            attempts=settings.webhook_attempts,
            backoff=settings.webhook_backoff,
        )
        self._turnstile = Turnstile()
        self.closing = threading.Event()

    def deliver_due(self) -> None:
        """Deliver until nothing is due, or the worker is told to stop. What is left then, the next
        worker finds."""
        while not self.closing.is_set() and (events := self._deliveries.due()):
            for event in events:
                self._deliver(event)

    def _deliver(self, event: Event) -> None:
        try:
            url, secret = self._target(event)
        except NotFound:
            return  # the job or batch was deleted since the claim, and its events with it
        host = event.tenant, _host(url)
        if pause := self._turnstile.enter(host):
            self._deliveries.postpone(event, pause)
            return
        outcome = self._try(url, secret, event)
        self._turnstile.leave(
            host, answered=outcome.status_code is not None, seconds=outcome.seconds
        )
        state = self._deliveries.record(event, outcome)
        _tell(event, outcome, state)

    def _target(self, event: Event) -> tuple[str, str]:
        if event.owner.startswith("batch_"):
            owner = self._batches.get(event.owner)
            webhook = json.loads(owner["webhook"])
        else:
            owner = self._store.job(event.owner)
            webhook = json.loads(owner["spec"])["webhook"]
        return webhook["url"], webhook.get("secret") or self._accounts.webhook_secret(
            owner["tenant"]
        )

    def _try(self, url: str, secret: str, event: Event) -> Outcome:
        body = envelope(event)
        begun = time.monotonic()

        def took() -> float:
            return time.monotonic() - begun

        try:
            headers = HEADERS | sign(secret, event.id, int(time.time()), body)
            status = post(url, body, headers, allowed=self._allowed, timeout=self._timeout)
        except (Refused, InvalidRequest) as refusal:
            return Outcome(took(), error=f"refused: {refusal}", hopeless=True)
        except Unreachable as problem:
            return Outcome(took(), error=str(problem))
        except Exception as bug:  # counted as a try, or the event would come back for ever
            log.exception(
                "webhook could not be sent", extra={"owner": event.owner, "event": event.id}
            )
            return Outcome(took(), error=f"internal error: {type(bug).__name__}")
        error = (
            "a redirect, which is not followed: name the final URL" if 300 <= status < 400 else None
        )
        return Outcome(took(), status_code=status, error=error)


def _tell(event: Event, outcome: Outcome, state: HookState | None) -> None:
    """One log line a try, without the URL: the paths of many receivers are their passwords."""
    level = logging.INFO if outcome.ok else logging.WARNING
    about = {
        "owner": event.owner,
        "event": event.id,
        "try": len(event.tries) + 1,
        "seconds": round(outcome.seconds, 3),
    }
    about |= {"status_code": outcome.status_code, "error": outcome.error}
    log.log(level, "webhook %s", state or "try not recorded: its claim ran out", extra=about)


def _host(url: str) -> str:
    """Whom a URL names; all that is no URL is one host, which is never called."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def envelope(event: Event) -> bytes:
    """The body of an event, the same bytes at every try."""
    created_at = event.created_at // 1000  # unix seconds
    content = {
        "id": event.id,
        "object": "event",
        "created_at": created_at,
        "type": event.type,
        "data": event.data,
    }
    return one_line(to_json(content))


class OwnBell(Bell):
    """What this worker's tick rings. One turn it takes by itself, for Celery hears of nothing
    for half a minute after a long outage; only while that turn is busy does it ring for another
    hand."""

    def __init__(self, redis_url: str):
        super().__init__(redis_url)
        self._turn = threading.Thread()

    def deliver(self, *, rung: bool = False) -> None:
        if self._turn.is_alive():
            super().deliver(rung=rung)
            return
        self._turn = threading.Thread(target=deliver, name="turn", daemon=True)
        self._turn.start()

    def close(self, seconds: float) -> None:
        """Let the delivery under way end, once the courier is closing; Celery waits only for its
        own threads."""
        if self._turn.is_alive():
            self._turn.join(seconds)


class TickStep(bootsteps.StartStopStep):
    """Lets time pass while this worker is up, even if it is the only one: deadlines, leases,
    retries of webhooks."""

    def __init__(self, parent: Any, **options: Any):
        super().__init__(parent, **options)
        self._client = connect(settings.redis_url, socket_timeout=REDIS_WAIT)
        self._bell = OwnBell(settings.redis_url)
        self._ticker = Ticker(Fleet(self._client), self._bell, settings)

    def start(self, _parent: Any) -> None:
        try:
            when_up(self._client, START_WAIT, partial(meet_store, self._client))
        except (ConfigError, Unavailable) as error:
            log.critical("%s", error)
            raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
        self._ticker.start()

    def stop(self, _parent: Any) -> None:
        self._ticker.stop()
        self._bell.close(settings.webhook_timeout + LEASE_MARGIN)


settings = Settings.load()
courier = Courier(settings)
app: Celery = celery_app("promptmill.webhooks", settings.redis_url)
app.conf.update(
    task_default_queue=WEBHOOK_QUEUE,
    worker_pool="threads",
    worker_concurrency=THREADS,
)
app.steps["worker"].add(TickStep)


@app.task(name=DELIVER)
def deliver() -> None:
    try:
        courier.deliver_due()
    except Unavailable as error:
        # Claims end by themselves, and the tick rings again.
        log.warning("webhooks wait: %s", error)


@signals.worker_shutting_down.connect
def _close(**_: Any) -> None:
    courier.closing.set()


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up(settings.log_format)
