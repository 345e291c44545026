"""How paths are matched, beyond what Flask does: which methods a path has."""

from __future__ import annotations

from flask import Flask, Response, current_app, request


def register(app: Flask) -> None:
    app.before_request(_answer_options)


def _answer_options() -> Response | None:
    """Only the methods of this very path: `/v1/jobs/check` looks like a job's, too, and has less of them."""
    if request.method != "OPTIONS" or request.url_rule is None:
        return None
    path = request.url_rule.rule
    methods = {
        method for rule in current_app.url_map.iter_rules() if rule.rule == path for method in rule.methods or ()
    }
    return Response(headers={"Allow": ", ".join(sorted(methods))})
