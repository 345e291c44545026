"""What a request needs of the rest of promptmill: one object per process, built by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from flask import current_app

from common.accounts import Accounts
from common.fleet import Fleet
from common.rings import Bell
from common.settings import Settings
from common.store import JobStore, connect
from web.cards import Cards
from web.changes import Changes

EXTENSION = "promptmill"


@dataclass(frozen=True)
class Services:
    settings: Settings
    redis: redis.Redis
    store: JobStore
    fleet: Fleet
    accounts: Accounts
    bell: Bell
    changes: Changes
    cards: Cards

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Opens no connection yet: the web tier starts, and answers 503, while Redis is away."""
        client = connect(settings.redis_url)
        fleet = Fleet(client)
        return cls(
            settings=settings,
            redis=client,
            store=JobStore(client),
            fleet=fleet,
            accounts=Accounts(client),
            bell=Bell(settings.redis_url),
            changes=Changes(settings.redis_url),
            cards=Cards(fleet),
        )


def services() -> Services:
    """The current app's."""
    found: Services = current_app.extensions[EXTENSION]
    return found
