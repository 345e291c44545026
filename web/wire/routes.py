"""What Flask does not do with paths: extra slashes are removed, and the answer to an unknown path
names known ones that are similar."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Rule

ARGUMENT = re.compile(r"<(?:any\(([^)]*)\):|\w+:)?(\w+)>")  # of a route: its choices, its name
NEAR = 3  # similar paths that are named
LONGEST = 100  # characters of a path that are compared and shown
# Replicate's paths, which the route of a model, whose name may have slashes, would match.
NO_MODEL = re.compile(r"/v1/models/.+/(predictions|versions)(/.*)?", re.DOTALL)


class InPlace:
    """WSGI middleware: removes slashes at the end of a path, and repeated ones. A redirect would be
    enough for browsers, but other clients drop a POST's body, or the key, when they follow it."""

    def __init__(self, app: WSGIApplication):
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = "/" + "/".join(filter(None, environ.get("PATH_INFO", "").split("/")))
        return self._app(environ, start_response)


def register(app: Flask) -> None:
    app.wsgi_app = InPlace(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_answer_options)


@cache
def template(route: str) -> str:
    """A route as documentation writes it: `/v1/jobs/{job_id}`."""
    return ARGUMENT.sub(r"{\2}", route)


def methods_here(rule: Rule | None = None) -> list[str]:
    """The methods of the requested path, or of this route. Of `/v1/jobs/check` these are not all
    methods of `/v1/jobs/{job_id}`, which matches it too."""
    rule = rule or request.url_rule
    path = rule.rule if rule else None
    return sorted(
        {
            each
            for other in current_app.url_map.iter_rules()
            if other.rule == path
            for each in other.methods or ()
        }
    )


def _answer_options() -> Response | None:
    if request.method != "OPTIONS" or request.url_rule is None:
        return None
    return Response(headers={"Allow": ", ".join(methods_here())})


def of_this_path(error: HTTPException) -> HTTPException:
    """A 404 in place of the 405 that Flask raises for Replicate's paths, because they look like the
    path of a model. Any other 405 names the methods of the path itself, not those of other routes
    that match it too."""
    if isinstance(error, MethodNotAllowed):
        if NO_MODEL.fullmatch(request.path):
            return NotFound()
        error.valid_methods = methods_here(_route())
    return error


def _route() -> Rule | None:
    """The route of the requested path, whatever the method: each answers OPTIONS."""
    adapter = current_app.create_url_adapter(request)
    return adapter.match(method="OPTIONS", return_rule=True)[0] if adapter else None


def not_there() -> str:
    """The message for an unknown path."""
    path = request.path[:LONGEST]
    near = difflib.get_close_matches(path, sorted(set(_api_paths())), n=NEAR, cutoff=0.5)
    names = f"near it are {', '.join(near)}; " if near else ""
    return f"there is nothing at {path}; {names}/openapi.json lists what there is"


def not_possible(error: HTTPException) -> str:
    """The message for a method that the path does not have."""
    methods = sorted(set(getattr(error, "valid_methods", None) or ()) - {"HEAD", "OPTIONS"})
    return f"{request.method[:16]} is not possible here" + (
        f"; {' and '.join(methods)} would be" if methods else ""
    )


def _api_paths() -> Iterator[str]:
    for rule in current_app.url_map.iter_rules():
        if hasattr(current_app.view_functions[rule.endpoint], "description"):
            yield template(rule.rule)
