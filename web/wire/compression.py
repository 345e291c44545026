"""Decompresses request bodies and compresses answers (gzip), piece by piece.

Limits count a body's bytes when it is decompressed, and only what the app reads is decompressed, so
that a compressed bomb costs what the limits allow. Event streams, parts of files, and answers that
are compressed already stay as they are.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, request

from common.cooperate import Steps
from common.errors import InvalidRequest

GZIP = zlib.MAX_WBITS | 16
LEVEL = 1  # of nine: results shrink to a fifth, at 100 MB/s
LEAST = 1024  # bytes of an answer; less is not worth it
PIECE = 64 * 2**10  # bytes unpacked, or packed, at once
NAMES = ("gzip", "x-gzip")
KINDS = (
    "application/json",
    "application/jsonl",
    "application/javascript",
    "application/octet-stream",
    "application/openmetrics-text",
    "application/problem+json",
    "image/svg+xml",
)


def register(app: Flask) -> None:
    app.before_request(_unpack_body)
    app.after_request(_pack_answer)


class BadEncoding(InvalidRequest):
    """The body cannot be decompressed."""

    def __init__(self, message: str):
        super().__init__(message, status=400, code="malformed_encoding", field="Content-Encoding")


class _Unpacked(io.RawIOBase):
    """A body as it was before it was compressed."""

    def __init__(self, source: Any):
        self._source = source
        self._unpacker = zlib.decompressobj(GZIP)
        self._steps = Steps()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = b""
        while not found and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._source.read(PIECE)
            try:
                found = self._unpacker.decompress(packed, min(len(buffer), PIECE))
            except zlib.error:
                raise BadEncoding("the body is not gzip, though Content-Encoding says so") from None
            if not packed and not found and not self._unpacker.eof:
                raise BadEncoding("the body ends in the middle of its gzip")
            self._steps.step()
        if not found and (self._unpacker.unused_data or self._source.read(1)):
            raise BadEncoding(
                "something follows the end of the body's gzip; send one gzip member and nothing "
                "else"
            )
        buffer[: len(found)] = found
        return len(found)


def _unpack_body() -> None:
    """Replace a compressed body by a stream that decompresses it as the app reads."""
    encodings = [
        name.strip().lower() for name in request.headers.get("Content-Encoding", "").split(",")
    ]
    encodings = [name for name in encodings if name not in ("", "identity")]
    if not encodings:
        return
    if len(encodings) > 1 or encodings[0] not in NAMES:
        message = (
            f"Content-Encoding {', '.join(encodings)[:64]!r} is not read here; send gzip, "
            "or the body as it is"
        )
        raise InvalidRequest(
            message, status=415, code="unsupported_encoding", field="Content-Encoding"
        )
    packed = request.stream  # ends where the body does, or at the limit for bodies
    environ = request.environ
    environ["wsgi.input"] = io.BufferedReader(_Unpacked(packed), PIECE)
    environ["wsgi.input_terminated"] = True
    for name in ("CONTENT_LENGTH", "HTTP_CONTENT_ENCODING"):
        environ.pop(name, None)
    for name in ("stream", "content_length"):  # Flask computed these from the compressed body
        request.__dict__.pop(name, None)


def _pack_answer(response: Response) -> Response:
    length = response.content_length
    if (length is not None and 0 < length < LEAST) or not _is_text(response):
        return response
    response.vary.add("Accept-Encoding")
    if not _wants_gzip() or _is_done(response):
        return response
    response.direct_passthrough = False
    if response.is_streamed:
        source = response.response
        if hasattr(source, "close"):
            response.call_on_close(source.close)
        response.response = packed(response.iter_encoded())
        response.headers.pop("Content-Length", None)
    else:
        response.set_data(b"".join(packed(_cut(response.get_data()))))
    response.headers["Content-Encoding"] = "gzip"
    response.headers.pop("Accept-Ranges", None)
    etag, _ = response.get_etag()
    if etag:
        response.set_etag(etag, weak=True)  # the same content in other bytes
    return response


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as gzip, as they come. Other requests are served in between."""
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    steps = Steps()
    for piece in pieces:
        if found := b"".join(packer.compress(part) for part in _cut(piece)):
            yield found
        steps.step()
    yield packer.flush()


def _cut(whole: bytes) -> Iterator[bytes]:
    return (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))


def _is_text(response: Response) -> bool:
    kind = response.mimetype or ""
    return (
        kind in KINDS
        or (kind.startswith("text/") and kind != "text/event-stream")
        or response.status_code == 304
    )


def _is_done(response: Response) -> bool:
    """Whether the answer stays as it is: it has no body, is a part of a file, or is encoded
    already."""
    headers = response.headers
    return (
        response.status_code in (204, 206, 304)
        or "Content-Encoding" in headers
        or "Range" in request.headers
    )


def _wants_gzip() -> bool:
    return bool(request.accept_encodings) and request.accept_encodings["gzip"] > 0
