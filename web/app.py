"""`create_app()` makes the web tier's Flask app out of services, routes and error answers."""

from __future__ import annotations

from flask import Flask

from common.settings import Settings
from web.api import register as api
from web.openai import register as openai
from web.pages import register as pages
from web.rating import register as rating
from web.services.services import EXTENSION, Services
from web.wire import compression, cors, error_answers, request_log, routes
from web.wire.multipart import BoundedRequest
from web.wire.openapi import openapi
from web.wire.prefix import add_prefix
from web.wire.proxies import Proxies
from web.wire.unread import ReadsOn

# What clients use: each registers its blueprints and starts its background threads.
FACES = (api, openai, pages, rating)


def create_app(settings: Settings | None = None) -> Flask:
    """An app with these settings, or with those of the environment.

    Raises:
        ConfigError: the settings are wrong, or do not fit the app's routes.
    """
    settings = settings or Settings.load()
    app = Flask("web", static_folder=None)
    app.request_class = BoundedRequest
    app.wsgi_app = ReadsOn(app.wsgi_app)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.wsgi_app = Proxies(app.wsgi_app, settings.trusted_networks)  # type: ignore[method-assign]
    app.extensions[EXTENSION] = Services.build(settings)
    request_log.register(app)
    error_answers.register(app)
    cors.register(app, settings)
    compression.register(app)
    routes.register(app)
    app.register_blueprint(openapi)
    for face in FACES:
        face.register(app)
    add_prefix(app, settings)
    return app


def start_background(app: Flask) -> None:
    """Start the threads that a web process runs beside its requests."""
    for face in FACES:
        face.start_background(app.extensions[EXTENSION])
