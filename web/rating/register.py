"""Adds the raters' page and its API to the app."""

from __future__ import annotations

from flask import Flask

from web.rating import api, page
from web.rating.blueprint import rating
from web.services.services import Services

# Importing a module adds its views to the blueprint.
VIEWS = (api, page)


def register(app: Flask) -> None:
    app.register_blueprint(rating)


def start_background(_services: Services) -> None:
    """Raters have no background threads."""
