"""The web tier's factory: `create_app()` wires services, routes and error answers; each lives in its own module."""

from __future__ import annotations

from flask import Flask

from common.settings import Settings
from web import compression, cors, problems, routes
from web.api import api
from web.dialect.batches import batches
from web.dialect.chat import chat
from web.dialect.files import files
from web.dialect.tokens import tokens
from web.multipart import BoundedRequest
from web.openapi import openapi
from web.pages import pages
from web.prefix import add_prefix
from web.proxies import Proxies
from web.services import EXTENSION, Services
from web.unread import ReadsOn


def create_app(settings: Settings | None = None) -> Flask:
    """An app on these settings, else on the environment's; `ConfigError` if they do not go together with its routes."""
    settings = settings or Settings.load()
    app = Flask("web", static_folder=None)
    app.request_class = BoundedRequest
    app.wsgi_app = ReadsOn(app.wsgi_app)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.wsgi_app = Proxies(app.wsgi_app, settings.trusted_networks)  # type: ignore[method-assign]
    app.extensions[EXTENSION] = Services.build(settings)
    problems.register(app)
    cors.register(app, settings)
    compression.register(app)
    routes.register(app)
    for blueprint in (api, batches, chat, files, openapi, pages, tokens):
        app.register_blueprint(blueprint)
    add_prefix(app, settings)
    return app
