"""Sends requests to one server, and sends them again when it is busy or away.

Every request is safe to send twice: those that make something carry an idempotency key. Knows
nothing about jobs or tables.
"""

from __future__ import annotations

import ipaddress
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import urlsplit

import requests

from promptmill.errors import PromptmillError, RequestRefused, ServerUnreachable

TIMEOUT = (5, 120)  # seconds to connect, and between two bytes of an answer
FIRST_PATIENCE = 10.0  # seconds for a server that never answered: its URL may be wrong
FIRST_DELAY, MOST_DELAY = 0.5, 15.0  # seconds between two tries; doubled each time
MOST_RETRY_AFTER = 60.0  # seconds that a server may ask us to wait
PIECE = 65536  # bytes
BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
BUSY = {502, 503, 504}  # a proxy's words for "away", and ours


class Transport:
    """One server, one API key. `patience` is for how many seconds a request is sent again before
    it fails; `on_wait`, if set, is told why a request waits.

    Proxies are those of the environment; loopback addresses are called without one.
    """

    def __init__(self, url: str, api_key: str, patience: float):
        self.url = check_url(url)
        self.on_wait: Callable[[str], None] | None = None
        self._patience = patience
        self._reached = False
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"
        if is_loopback(urlsplit(self.url).hostname or ""):
            self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        upload: Upload | None = None,
    ) -> Any:
        """The answer's JSON; None for an answer without a body. `key` is an idempotency key."""
        tries = self._tries()
        headers = {"Idempotency-Key": key} if key else {}
        if upload:
            headers["Content-Type"] = upload.content_type
        while True:
            try:
                response = self._session.request(
                    method,
                    self.url + path,
                    json=json,
                    params=query,
                    headers=headers,
                    data=upload,
                    timeout=TIMEOUT,
                )
            except BROKEN as error:
                tries.wait(self._describe(error))
                continue
            if again := self._refusal_that_passes(response):
                tries.wait(*again)
                continue
            return self._content(response)

    def lines(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """The lines of a download, without their ends. When the connection breaks, it begins anew,
        with an empty line between."""
        tries = self._tries()
        while True:
            try:
                with self._session.get(
                    self.url + path, params=query, stream=True, timeout=TIMEOUT
                ) as response:
                    if again := self._refusal_that_passes(response):
                        tries.wait(*again)
                        continue
                    if not response.ok:
                        raise _refused(response)
                    for line in _split(response.iter_content(PIECE)):
                        tries = self._tries()
                        yield line
                    return
            except BROKEN as error:
                tries.wait(self._describe(error))
                yield b""

    def _tries(self) -> _Tries:
        patience = self._patience if self._reached else min(self._patience, FIRST_PATIENCE)
        return _Tries(patience, lambda reason: self.on_wait and self.on_wait(reason))

    def _describe(self, error: Exception) -> str:
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.url} has no certificate that can be trusted: {error}"
        return f"no server answers at {self.url}; is promptmill up, and is the URL right?"

    def _refusal_that_passes(self, response: requests.Response) -> tuple[str, float | None] | None:
        """Why to send the request again, and after how many seconds, if the server says."""
        self._reached = True
        after = _seconds(response.headers.get("Retry-After"))
        if response.status_code in BUSY or (response.status_code == 429 and after is not None):
            return f"{self.url} is busy: {_refused(response)}", after
        return None

    def _content(self, response: requests.Response) -> Any:
        if not response.ok:
            raise _refused(response)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise PromptmillError(
                f"{self.url} answered something else than JSON; is it a promptmill server?"
            ) from None


class Upload:
    """A multipart body: the part `job`, and the part `file`, which is read as it is sent."""

    def __init__(self, job: bytes, file: IO[bytes], name: str):
        self._boundary = f"promptmill-{random.randbytes(16).hex()}"
        self._file = file
        disposition = f'Content-Disposition: form-data; name="file"; filename="{_quoted(name)}"'
        self._head = (
            f"--{self._boundary}\r\n"
            'Content-Disposition: form-data; name="job"\r\n'
            "Content-Type: application/json\r\n\r\n"
        ).encode()
        self._head += job + f"\r\n--{self._boundary}\r\n{disposition}\r\n\r\n".encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return len(self._head) + self._file.seek(0, 2) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        yield self._head
        while piece := self._file.read(PIECE):
            yield piece
        yield self._tail


class _Tries:
    """The pauses between the tries of one request."""

    def __init__(self, patience: float, on_wait: Callable[[str], object]):
        self._until = time.monotonic() + patience
        self._delay = FIRST_DELAY
        self._on_wait = on_wait

    def wait(self, reason: str, seconds: float | None = None) -> None:
        """Wait before the next try.

        Raises:
            ServerUnreachable: the patience is used up.
        """
        jittered = self._delay * (0.75 + random.random() / 2)
        pause = jittered if seconds is None else max(seconds, FIRST_DELAY)
        self._delay = min(self._delay * 2, MOST_DELAY)
        if time.monotonic() + pause > self._until:
            raise ServerUnreachable(reason)
        self._on_wait(reason)
        time.sleep(pause)


def check_url(url: str) -> str:
    """The server's URL as it stands before `/v1/jobs`.

    Raises:
        ValueError: it is no such URL.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or any(character <= " " for character in url) or set(url) & set("?#@\\"):
        raise ValueError(f"PROMPTMILL_URL={url!r} is no URL of a server; such as http://box:8000")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; a date counts as none."""
    try:
        return min(float(text), MOST_RETRY_AFTER) if text else None
    except ValueError:
        return None


def _quoted(name: str) -> str:
    """A file name that a header can carry; only its suffix means something."""
    return re.sub(r'["\\\x00-\x1f\x7f]', "_", name.encode("ascii", "replace").decode())


def _refused(response: requests.Response) -> RequestRefused:
    """The server's answer as an error: its sentence, then each fault on a line of its own."""
    try:
        problem = response.json()
        if isinstance(problem.get("error"), dict):  # as OpenAI's clients read it
            problem = {**problem["error"], "detail": problem["error"]["message"]}
        detail, errors = str(problem["detail"]), list(problem.get("errors", []))
        code = str(problem.get("code", "unknown"))
        lines = [detail]
        for error in errors:
            where = [f"row {error['line']}" if "line" in error else "", error.get("field") or ""]
            place = ", ".join(part for part in where if part)
            if place and error["message"] != detail:
                lines.append(f"  {place}: {error['message']}")
    except (ValueError, KeyError, TypeError, AttributeError):
        lines, errors, code = [f"HTTP {response.status_code} {response.reason}"], [], "unknown"
    return RequestRefused("\n".join(lines), status=response.status_code, code=code, errors=errors)
