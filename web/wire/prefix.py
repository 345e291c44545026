"""Serves everything under a path prefix, if `PROMPTMILL_PUBLIC_URL` has one.

A proxy in front may hand the prefix on or cut it off: it is removed here from requests that have
it, and the others are taken as they are. Links, redirects and cookies get it from `SCRIPT_NAME`, as
in any WSGI app.
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask

from common.errors import ConfigError
from common.settings import Settings


class Prefix:
    """WSGI middleware; `prefix` is like `/mill`."""

    def __init__(self, app: WSGIApplication, prefix: str):
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path: str = environ.get("PATH_INFO", "")
        if f"{path}/".startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        environ["SCRIPT_NAME"] = self._prefix
        return self._app(environ, start_response)


def add_prefix(app: Flask, settings: Settings) -> None:
    """Serve an app, with all its routes, under the path of its public URL.

    Raises:
        ConfigError: the path begins like one of the app's own, so that it could not be known
        whether a proxy cut it off.
    """
    if not settings.prefix:
        return
    first = settings.prefix.split("/")[1]
    if first in {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}:
        raise ConfigError(
            f"PROMPTMILL_PUBLIC_URL={settings.public_url!r}: its path must not begin with "
            f"/{first}, a path of the web tier's own; leave it out, or take another"
        )
    app.wsgi_app = Prefix(app.wsgi_app, settings.prefix)  # type: ignore[method-assign]
