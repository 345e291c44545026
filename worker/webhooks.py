"""The webhook worker: `celery -A worker.webhooks worker -Q webhooks`. Posts signed events to the
receivers that jobs and batches name.

It has a Celery app of its own, so that a slow receiver never delays a GPU, and its image needs no
torch. Its messages are rings: which events are to be delivered, and when, is in the outbox
(`common/store/outbox.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import urlsplit

from celery import Celery
from pydantic_core import to_json

from common.allowed import Allowed
from common.errors import InvalidRequest, NotFound, Unavailable
from common.rings import DELIVER, WEBHOOK_QUEUE, RingSender
from common.settings import Settings
from common.signing import sign
from common.store.batches import Batches
from common.store.connection import connect
from common.store.jobs import JobStore
from common.store.outbox import Event, HookState, Outbox, Outcome
from common.store.packing import one_line
from common.store.records import Unreadable
from common.store.tenants import Tenants
from worker.host_limiter import HostLimiter
from worker.local_turn import LocalTurn
from worker.receiver_call import post
from worker.receivers import ReceiverForbidden, ReceiverUnreachable
from worker.ring_worker import RingWorker, ring_app
from worker.tick_step import REDIS_WAIT

LEASE_MARGIN = 5.0  # seconds that claiming and recording take, on top of the receiver's timeout
# They only wait. Several tenants with as many deliveries as each may have still leave some free.
THREADS = 32
HEADERS = {"content-type": "application/json", "user-agent": "promptmill-webhooks/1"}

log = logging.getLogger(__name__)


class Courier:
    """Delivers due events to their receivers. Safe for threads: each event is claimed by one."""

    def __init__(self, settings: Settings):
        client = connect(settings.redis_url, socket_timeout=REDIS_WAIT)
        self._store = JobStore(client)
        self._batches = Batches(client)
        self._tenants = Tenants(client)
        self._allowed = Allowed.parse(settings.webhook_allow)
        self._timeout = settings.webhook_timeout
        self._deliveries = Outbox(
            client,
            lease=settings.webhook_timeout + LEASE_MARGIN,
            attempts=settings.webhook_attempts,
            backoff=settings.webhook_backoff,
        )
        self._hosts = HostLimiter()
        self.closing = threading.Event()

    def deliver_due(self) -> None:
        """Deliver until no event is due, or the worker stops; the next worker finds the others."""
        while not self.closing.is_set() and (events := self._deliveries.due()):
            for event in events:
                self._deliver(event)

    def _deliver(self, event: Event) -> None:
        try:
            url, secret = self._target(event)
        except NotFound:
            return  # the job or batch was deleted after the claim, and so were its events
        except Unreadable as error:
            # Nobody can be called; without an end the event would be due again at every lease, and
            # would keep this worker from the events behind it.
            self._record(event, Outcome(0.0, error=f"refused: {error}", hopeless=True))
            return
        host = event.tenant, _host(url)
        if pause := self._hosts.enter(host):
            self._deliveries.postpone(event, pause)
            return
        outcome = self._try(url, secret, event)
        self._hosts.leave(host, answered=outcome.status_code is not None, seconds=outcome.seconds)
        self._record(event, outcome)

    def _record(self, event: Event, outcome: Outcome) -> None:
        _log_try(event, outcome, self._deliveries.record(event, outcome))

    def _target(self, event: Event) -> tuple[str, str]:
        of_batch = event.owner.startswith("batch_")
        webhook = (
            self._batches.get(event.owner).webhook
            if of_batch
            else self._store.job(event.owner).webhook
        )
        if webhook is None:
            raise NotFound(f"{event.owner} has no webhook")
        return webhook["url"], webhook.get("secret") or self._tenants.webhook_secret(event.tenant)

    def _try(self, url: str, secret: str, event: Event) -> Outcome:
        body = envelope(event)
        begun = time.monotonic()

        def took() -> float:
            return time.monotonic() - begun

        try:
            headers = HEADERS | sign(secret, event.id, int(time.time()), body)
            status = post(url, body, headers, allowed=self._allowed, timeout=self._timeout)
        except (ReceiverForbidden, InvalidRequest) as refusal:
            return Outcome(took(), error=f"refused: {refusal}", hopeless=True)
        except ReceiverUnreachable as problem:
            return Outcome(took(), error=str(problem))
        except Exception as bug:  # counted as a try, or the event would be due again without end
            log.exception(
                "webhook could not be sent", extra={"owner": event.owner, "event": event.id}
            )
            return Outcome(took(), error=f"internal error: {type(bug).__name__}")
        error = (
            "a redirect, which is not followed: name the final URL" if 300 <= status < 400 else None
        )
        return Outcome(took(), status_code=status, error=error)


def _log_try(event: Event, outcome: Outcome, state: HookState | None) -> None:
    """One log line for each try, without the URL: the path of many receivers is their password."""
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
    """The host in a URL. Texts that are no URL count as one host, which is never called."""
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


class WebhookRingSender(RingSender):
    """The rings of this worker's tick. One for webhook workers begins a turn in this process, and
    is sent only while that runs."""

    def __init__(self, redis_url: str, turn: LocalTurn):
        super().__init__(redis_url)
        self._turn = turn

    def wake_webhooks(self, *, rung: bool = False) -> None:
        if not self._turn.begin():
            super().wake_webhooks(rung=rung)


def deliver_all() -> None:
    try:
        courier.deliver_due()
    except Unavailable as error:
        # The claims expire, and the next tick sends a ring.
        log.warning("webhooks wait: %s", error)


settings = Settings.load()
courier = Courier(settings)
app: Celery = ring_app(
    RingWorker(
        name="promptmill.webhooks",
        task=DELIVER,
        queue=WEBHOOK_QUEUE,
        threads=THREADS,
        work=deliver_all,
        closing=courier.closing,
        close=settings.webhook_timeout + LEASE_MARGIN,
        ring_sender=WebhookRingSender,
    ),
    settings,
)
