"""Answers that are files, sent in pieces while they are read."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

from flask import Response

from common.errors import PromptmillError
from common.store.grants import Grant
from web.auth import grant
from web.services.services import Services, services
from web.services.watch import Watch

log = logging.getLogger(__name__)

LONGEST_NAME = 120  # characters of a file's name without its ending
# What no file system, shell or header takes well: separators, quotes, wildcards, and characters
# that are not seen or turn the direction of writing.
UNSAFE = re.compile(
    r'[/\\:*?"<>|%$`\x00-\x1f\x7f-\x9f'
    r"\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+"
)


def download(pieces: Iterator[bytes], content_type: str) -> Response:
    """A response of these pieces. The first is read here, so that what fails with it is answered as
    an error. What fails later can only break the stream off, and so does the end of the key or
    session of the request.

    The response raises BrokenPipeError then: the server ends the connection at once, so that a
    client sees that the file is not whole, and does not take it for an error of its own.
    """
    first = next(pieces, b"")
    response = Response(
        _while_valid(services(), grant(), chain([first], pieces)), content_type=content_type
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def disposition(name: str) -> str:
    """The header by which a browser saves a file under a name (RFC 6266): in ASCII for old clients,
    and in full where it has other characters."""
    safe = _safe(name)
    ascii_name = "".join(each if each.isascii() else "_" for each in safe)
    header = f'attachment; filename="{ascii_name}"'
    return header if safe == ascii_name else f"{header}; filename*=UTF-8''{quote(safe, safe='')}"


def _safe(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    stem = UNSAFE.sub("_", stem.encode(errors="replace").decode())[:LONGEST_NAME].strip(" .")
    # A name that begins with a dash is an option to many commands.
    return f"{stem.lstrip('-') or 'results'}.{ending}"


def _while_valid(services: Services, grant: Grant, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        with services.guard.guarded(grant, Watch(0)) as watch:
            for piece in pieces:
                if watch.ended:
                    raise watch.ended
                yield piece
    except PromptmillError as error:
        log.info("a download was broken off: %s", error)
        raise BrokenPipeError(errno.EPIPE, str(error)) from None
