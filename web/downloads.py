"""Files that are sent in pieces while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flask import Response


def download(pieces: Iterator[bytes], content_type: str) -> Response:
    """A response of these pieces. The first is read here, where what fails is still answered as an error; what fails
    later can only break the stream off."""
    first = next(pieces, b"")
    response = Response(chain([first], pieces), content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    return response
