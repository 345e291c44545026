"""Adds the pages to the app."""

from __future__ import annotations

from flask import Flask

from web.pages import (
    comparison,
    evaluate,
    icons,
    item,
    job,
    job_charts,
    jobs,
    login,
    people,
    shared,
    studies,
    submit,
    sweeps,
    workers,
)
from web.pages.blueprint import pages
from web.services.services import Services

# Importing a module adds its views to the blueprint.
VIEWS = (
    evaluate,
    comparison,
    icons,
    item,
    job,
    job_charts,
    jobs,
    login,
    people,
    shared,
    studies,
    submit,
    sweeps,
    workers,
)


def register(app: Flask) -> None:
    app.register_blueprint(pages)


def start_background(_services: Services) -> None:
    """The pages have no background threads."""
