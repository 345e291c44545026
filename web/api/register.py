"""Adds the native API to the app."""

from __future__ import annotations

from flask import Flask

from web.api import comparisons, evaluations, health, items, jobs, presets, studies, sweeps, workers
from web.api.blueprint import api
from web.api.metrics import Flusher
from web.jobs.deriver import Deriver
from web.services.services import Services

# Importing a module adds its views to the blueprint.
VIEWS = (comparisons, evaluations, health, items, jobs, presets, studies, sweeps, workers)


def register(app: Flask) -> None:
    app.register_blueprint(api)


def start_background(services: Services) -> None:
    Flusher(services).start()
    Deriver(services).start()
