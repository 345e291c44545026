"""The objects that requests work with: one of each per process, built by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from flask import current_app

from common.rings import RingSender
from common.settings import Settings
from common.store.admission import Admission
from common.store.api_keys import ApiKeys
from common.store.batches import Batches
from common.store.comparisons import Comparisons
from common.store.connection import connect
from common.store.derived import DerivedJobs
from common.store.evaluations import Evaluations
from common.store.files import Files
from common.store.fleet import Fleet
from common.store.form_drafts import FormDrafts
from common.store.item_scores import ItemScores
from common.store.jobs import JobStore
from common.store.metrics import Tally
from common.store.permits import Permits
from common.store.presets import Presets
from common.store.raters import Raters
from common.store.sessions import Sessions
from common.store.shares import Shares
from common.store.studies import Studies
from common.store.sweeps import Sweeps
from common.store.tenants import Tenants
from web.services.failures import AllFailures
from web.services.feed import Feeds
from web.services.grammars import Grammars
from web.services.guard import Guard
from web.services.models import Models
from web.services.samples import AllSamples
from web.services.turns import Turns
from web.services.verdicts import AllAnswers
from web.services.watch import Watches

EXTENSION = "promptmill"
MOST_CONNECTIONS = 100  # opened only as far as requests overlap; the next request waits for one


@dataclass(frozen=True)
class Services:
    settings: Settings
    redis: redis.Redis
    store: JobStore
    admission: Admission
    fleet: Fleet
    tenants: Tenants
    api_keys: ApiKeys
    sessions: Sessions
    shares: Shares
    files: Files
    form_drafts: FormDrafts
    batches: Batches
    comparisons: Comparisons
    evaluations: Evaluations
    ring_sender: RingSender
    watches: Watches
    models: Models
    feeds: Feeds
    samples: AllSamples
    failures: AllFailures
    answers: AllAnswers
    permits: Permits
    presets: Presets
    sweeps: Sweeps
    studies: Studies
    raters: Raters
    item_scores: ItemScores
    derived: DerivedJobs
    tally: Tally
    guard: Guard
    grammars: Grammars
    previews: Turns
    study_turns: Turns

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Opens no connection yet: the web tier starts, and answers 503, while Redis is away."""
        client = connect(settings.redis_url, most=MOST_CONNECTIONS, replicas=settings.replicas)
        store, fleet = JobStore(client), Fleet(client)
        return cls(
            settings=settings,
            redis=client,
            store=store,
            admission=Admission(client),
            fleet=fleet,
            tenants=Tenants(client),
            api_keys=ApiKeys(client),
            sessions=Sessions(client),
            shares=Shares(client),
            files=Files(client),
            form_drafts=FormDrafts(client),
            batches=Batches(client),
            comparisons=Comparisons(client),
            evaluations=Evaluations(client),
            ring_sender=RingSender(settings.redis_url),
            watches=Watches(settings.redis_url),
            models=Models(fleet, settings.aliases),
            feeds=Feeds(store),
            samples=AllSamples(store),
            failures=AllFailures(store),
            answers=AllAnswers(store),
            permits=Permits(client),
            presets=Presets(client),
            sweeps=Sweeps(client),
            studies=Studies(client),
            raters=Raters(client),
            item_scores=ItemScores(client),
            derived=DerivedJobs(client),
            tally=Tally(),
            guard=Guard(client),
            grammars=Grammars(),
            previews=Turns("previews", most=2, waiting=32, patience=30.0),
            study_turns=Turns("studies", most=1, waiting=8, patience=30.0),
        )


def services() -> Services:
    """The current app's."""
    found: Services = current_app.extensions[EXTENSION]
    return found
