"""Posts one webhook to its receiver. Knows nothing of Redis or Celery.

The standard library's HTTP client is given a connected socket: it follows no redirect, uses no
proxy and retries nothing (docs/decisions/0006-webhooks.md).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote

import certifi

from common.allowed import Allowed
from worker.receivers import ReceiverForbidden, ReceiverUnreachable, resolve, split

# Bytes of the answer's body that are read: to close before would reset the receiver's connection.
ANSWER_LIMIT = 4096
# Characters of a URL that stay as they are; others, such as spaces and umlauts, are quoted.
URL_SIGNS = "!#$%&'()*+,/:;=?@[]~"


def _reason(error: Exception | None) -> str:
    """What went wrong, in words that the tenant may read: no address, and nothing that the other
    side sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not accepted: {error.verify_message.partition(', certificate')[0]}"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


@cache
def tls() -> ssl.SSLContext:
    """Trusts the system's authorities, a company's own among them, and Mozilla's list, which slim
    images lack."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class ReceiverCall(threading.Thread):
    """One POST in a thread of its own, so that one time limit holds for all of it.

    The resolver takes no timeout, and the timeout of a socket starts again with each byte it gets.
    """

    def __init__(
        self, url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, timeout: float
    ):
        super().__init__(name="webhook-call", daemon=True)
        self._url, self._body, self._headers, self._allowed = url, body, headers, allowed
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        # Guards the two below: after a call was given up it must not connect.
        self._lock = threading.Lock()
        self._given_up = False
        self._socket: socket.socket | None = None
        self._status: int | None = None
        self._error: Exception | None = None

    def answer(self) -> int:
        """Start, and return the status code; raises what `post` raises."""
        self.start()
        self.join(self._timeout)
        late = self.is_alive()
        if late:
            self._give_up()
        if self._status is not None:
            return self._status
        # After `_give_up` the thread's error is a consequence of that.
        raise self._error if self._error and not late else self._too_late()

    def run(self) -> None:
        try:
            self._post()
        except (ReceiverForbidden, ReceiverUnreachable) as error:
            self._error = error
        except TimeoutError:  # the socket's timeout was over first
            self._error = self._too_late()
        except (OSError, http.client.HTTPException) as error:
            self._error = ReceiverUnreachable(_reason(error))
        except Exception as error:
            # An exception in a thread is lost, and the caller would get no answer.
            self._error = error

    def _post(self) -> None:
        parts, host, port = split(self._url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(host, port)
        connection.sock = self._connect(resolve(host, port, self._allowed), port)
        try:
            if parts.scheme == "https":
                connection.sock = self._encrypt(connection.sock, host)
            target = quote(
                (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=URL_SIGNS
            )
            connection.request("POST", target, self._body, dict(self._headers))
            response = connection.getresponse()
            self._status = response.status  # that is the answer, even if the body never comes
            response.read(ANSWER_LIMIT)
        finally:
            connection.close()
            if self._socket is not None:
                self._socket.close()  # after a failed handshake the connection has none

    def _connect(self, addresses: list[str], port: int) -> socket.socket:
        """A connection to the first address that accepts one. Addresses are numeric, so nothing is
        resolved again."""
        error: OSError | None = None
        for address in addresses:
            try:
                return self._hold(socket.create_connection((address, port), timeout=self._left()))
            except OSError as problem:
                error = problem
        raise ReceiverUnreachable(f"cannot connect: {_reason(error)}") from error

    def _encrypt(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """TLS on a connection to an address, with the certificate checked against the name in the
        URL."""
        encrypted = tls().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._hold(encrypted)
        encrypted.do_handshake()
        return encrypted

    def _hold(self, connected: socket.socket) -> socket.socket:
        with self._lock:
            if self._given_up:
                connected.close()
                raise ReceiverUnreachable("given up")
            self._socket = connected
        return connected

    def _too_late(self) -> ReceiverUnreachable:
        return ReceiverUnreachable(f"no answer within {self._timeout:g} s")

    def _left(self) -> float:
        return max(0.01, self._deadline - time.monotonic())

    def _give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it has ended already
                    # The plain socket's method also wakes a thread that reads through TLS.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, timeout: float
) -> int:
    """POST `body` and return the status code, within `timeout` seconds, name resolution included.

    Raises:
        ReceiverForbidden: the receiver must not be called.
        ReceiverUnreachable: it did not answer.
    """
    return ReceiverCall(url, body, headers, allowed=allowed, timeout=timeout).answer()
