"""Answers that are files, sent in pieces while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flask import Response

from common.store.grants import Grant
from web.auth import grant
from web.services.services import Services, services
from web.services.watch import Watch


def download(pieces: Iterator[bytes], content_type: str) -> Response:
    """A response of these pieces. The first is read here, so that what fails with it is answered as
    an error. What fails later can only break the stream off, and so does the end of the key or
    session of the request."""
    first = next(pieces, b"")
    response = Response(
        _while_valid(services(), grant(), chain([first], pieces)), content_type=content_type
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _while_valid(services: Services, grant: Grant, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with services.guard.guarded(grant, Watch(0)) as watch:
        for piece in pieces:
            if watch.ended:
                raise watch.ended
            yield piece
