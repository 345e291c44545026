"""Adds the native API to the app."""

from __future__ import annotations

from flask import Flask

from web.api import health, items, jobs, workers
from web.api.blueprint import api

# Importing a module adds its views to the blueprint.
VIEWS = (health, items, jobs, workers)


def register(app: Flask) -> None:
    app.register_blueprint(api)
