"""Reads forms within limits, while other requests are served.

Werkzeug's own parser limits neither the headers of a part nor what comes before the first part, and
takes any number of urlencoded fields. Of bytes that are not UTF-8 it makes U+FFFD, which then
cannot be told from one that the user wrote. Files go to disk as they come. Knows nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, NoReturn
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, State

from common.cooperate import Steps
from common.errors import InvalidRequest, TooLarge

PIECE = 64 * 2**10  # bytes read at once
MOST_HEADERS = 16 * 2**10  # bytes of a part's headers, and of what is before the first part
MOST_URLENCODED = 2**20  # bytes: what is decoded at once
MOST_FIELDS = 1000  # of an urlencoded form
# Characters. RFC 2046 allows 70, but some clients, Werkzeug among them, send a few more.
LONGEST_BOUNDARY = 128

Form = tuple[MultiDict[str, str], MultiDict[str, FileStorage]]


class Bounded(FormDataParser):
    """Raises an error where a form is wrong; Werkzeug would read an empty form."""

    def _parse_multipart(
        self, stream: IO[bytes], _mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> Any:
        boundary = options.get("boundary", "")
        if not 0 < len(boundary) <= LONGEST_BOUNDARY or not boundary.isascii():
            _refuse(f"Content-Type names no boundary of 1 to {LONGEST_BOUNDARY} ASCII characters")
        with ExitStack() as opened:
            try:
                found = self._parts(stream, boundary.encode(), content_length, opened)
            except ValueError as error:
                _refuse(f"this is not valid multipart/form-data: {error}")
            opened.pop_all()  # the files are the request's now
        return stream, *found

    def _parts(
        self, stream: IO[bytes], boundary: bytes, content_length: int | None, opened: ExitStack
    ) -> Form:
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        size = 0  # of all fields together
        part: Field | File | None = None
        name = ""
        content: Any = None
        for event in _events(stream, _Decoder(boundary, max_parts=self.max_form_parts)):
            if isinstance(event, Field | File):
                part, name = event, event.name or ""
                if isinstance(event, File):
                    content = opened.enter_context(self._container(event, content_length))
                else:
                    content = bytearray()
            elif isinstance(part, File) and isinstance(event, Data):
                content.write(event.data)
                if not event.more_data:
                    content.seek(0)
                    files.append(
                        (name, FileStorage(content, part.filename, name, headers=part.headers))
                    )
            elif isinstance(part, Field) and isinstance(event, Data):
                size += len(event.data)
                if self.max_form_memory_size is not None and size > self.max_form_memory_size:
                    most = f"{self.max_form_memory_size / 2**20:,.1f} MiB"
                    raise TooLarge(
                        f"the part `{name[:64]}` is too large: a form's fields may have {most} in "
                        "all; send a file"
                    )
                content += event.data
                if not event.more_data:
                    fields.append((name, _text(content, name)))
        return self.cls(fields), self.cls(files)

    def _container(self, file: File, content_length: int | None) -> IO[bytes]:
        return self.stream_factory(
            content_length, file.headers.get("content-type"), file.filename, None
        )

    def _parse_urlencoded(
        self,
        stream: IO[bytes],
        _mimetype: str,
        _content_length: int | None,
        _options: dict[str, str],
    ) -> Any:
        raw = bytearray()
        while piece := stream.read(PIECE):
            raw += piece
            if len(raw) > MOST_URLENCODED:
                raise TooLarge(
                    f"an urlencoded form may have {MOST_URLENCODED / 2**20:.0f} MiB; send "
                    "multipart/form-data"
                )
        try:
            pairs = parse_qsl(
                raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
            )
        except UnicodeDecodeError:
            _refuse("the form is not UTF-8, percent-encoded")
        except ValueError:
            raise TooLarge(f"a form may have {MOST_FIELDS:,} fields") from None
        return stream, self.cls(pairs), self.cls()


class BoundedRequest(Request):
    """A request whose form is read by `Bounded`."""

    form_data_parser_class = Bounded


def _events(stream: IO[bytes], decoder: _Decoder) -> Iterator[Any]:
    """The parts of a form, piece by piece. Other requests are served in between."""
    steps = Steps()
    while True:
        piece = stream.read(PIECE)
        decoder.receive_data(piece or None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
        if not piece:
            return
        steps.step()


class _Decoder(MultipartDecoder):
    def receive_data(self, data: bytes | None) -> None:
        super().receive_data(data if data is None or self.state is not State.EPILOGUE else b"")

    def next_event(self) -> Any:
        event = super().next_event()
        if (
            isinstance(event, NeedData)
            and self.state is State.PREAMBLE
            and len(self.buffer) > PIECE + MOST_HEADERS
        ):
            raise ValueError("its boundary does not come")
        if (
            isinstance(event, NeedData)
            and self.state is State.PART
            and len(self.buffer) > MOST_HEADERS
        ):
            raise TooLarge(f"the headers of a part may have {MOST_HEADERS:,} bytes")
        return event

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        if len(data) > MOST_HEADERS:
            raise TooLarge(f"the headers of a part may have {MOST_HEADERS:,} bytes")
        return super()._parse_headers(data)


def _text(raw: bytearray, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        _refuse(f"the part {name[:64]!r} is not valid UTF-8 at byte {error.start + 1}", name[:64])


def _refuse(message: str, field: str = "body") -> NoReturn:
    raise InvalidRequest(message, status=400, code="malformed_form", field=field)
