"""Adds the pages to the app."""

from __future__ import annotations

from flask import Flask

<<<<<<< HEAD
from web.pages import icons, jobs, login, submit, workers
=======
from web.pages import jobs, login, people, shared, submit, workers
>>>>>>> 3af22a8 (Keys, invitations and read-only links to a job in the browser; a login returns to the page that asked for it)
from web.pages.blueprint import pages
from web.services.services import Services

# Importing a module adds its views to the blueprint.
<<<<<<< HEAD
VIEWS = (icons, jobs, login, submit, workers)
=======
VIEWS = (jobs, login, people, shared, submit, workers)
>>>>>>> 3af22a8 (Keys, invitations and read-only links to a job in the browser; a login returns to the page that asked for it)


def register(app: Flask) -> None:
    app.register_blueprint(pages)


def start_background(_services: Services) -> None:
    """The pages have no background threads."""
