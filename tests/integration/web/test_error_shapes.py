"""Errors have the shape of their path, whether a view answers them or nothing is there."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.support.web import Web
from web.wire.description import description_of
from web.wire.error_answers import shapes_of

OPENAI, PROBLEM = "application/json", "application/problem+json"


def media_type(app: Flask, path: str) -> str:
    return shapes_of(app).of_path(path).media_type


def test_openai_s_shape_is_spoken_on_openai_s_paths_only(web: Web) -> None:
    for path in ("/v1/models", "/v1/chat/completions", "/v1/files/x", "/v1/batches", "/v1/x/y"):
        assert media_type(web.app, path) == OPENAI, path
    for path in ("/v1/jobs", "/v1/jobs/x/items", "/v1/workers", "/jobs", "/healthz", "", "*", "//"):
        assert media_type(web.app, path) == PROBLEM, path


def test_a_path_has_one_shape_before_and_after_its_view_is_found(web: Web) -> None:
    """So a body that is refused before the app begins, a wrong method and `/openapi.json` agree."""
    for rule in web.app.url_map.iter_rules():
        if description_of(web.app, rule.endpoint):
            shape = shapes_of(web.app).of(rule.endpoint.rpartition(".")[0], rule.rule)
            assert media_type(web.app, rule.rule) == shape.media_type, rule.rule


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/jobsx", 404, OPENAI),
        ("GET", "/v1/jobs/job_0/x", 404, PROBLEM),
        ("GET", "/tokenize/x", 404, OPENAI),
        ("POST", "/health", 405, PROBLEM),
        ("POST", "/healthz", 405, PROBLEM),
        ("GET", "/x" * 2000, 404, PROBLEM),
    ],
)
def test_what_no_view_answers_has_the_shape_of_the_nearest_path(
    web: Web, method: str, path: str, status: int, kind: str
) -> None:
    answer = web.call(method, path)
    assert (answer.status_code, answer.mimetype) == (status, kind)


def test_the_specification_says_which_shape_an_operation_s_errors_have(web: Web) -> None:
    found: Any = web.client.get("/openapi.json").json
    for path, methods in found["paths"].items():
        for operation in methods.values():
            named = {
                kind
                for status, answer in operation["responses"].items()
                # gunicorn answers 414 itself, in its own shape.
                if "$ref" in answer and status not in ("200", "414")
                for kind in found["components"]["responses"][answer["$ref"].rsplit("/", 1)[-1]][
                    "content"
                ]
            }
            assert named <= {media_type(web.app, path)}, path
