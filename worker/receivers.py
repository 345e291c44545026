"""Receivers of webhooks: which may be called, and one POST to one of them. Knows nothing of Redis
or Celery.

Users choose these URLs and this host calls them, so a URL must not reach what only this host can:
every address behind a name is checked, and the connection goes to the very address that was
checked, so an answer that changes between the check and the call (DNS rebinding) changes nothing.
The standard library's HTTP client is given a connected socket: no redirect is followed, no proxy
used and nothing retried behind our back (docs/decisions/0006-webhooks.md).
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, quote, urlsplit

import certifi

from common.allowed import Allowed

# Bytes of the answer's body that are read, for courtesy: closing at once would reset the receiver.
ANSWER_LIMIT = 4096
PORTS = {"http": 80, "https": 443}
MOST_PER_HOST = 4  # calls to a host under way, of one tenant
PAUSE = 1.0  # seconds until an event is looked at again whose host has as many
LONGEST_PAUSE = 60.0  # seconds that a silent host is left alone
MOST_SILENT = 10_000  # hosts remembered
# Stand for themselves in a URL; the rest, spaces and umlauts, is quoted.
URL_SIGNS = "!#$%&'()*+,/:;=?@[]~"

Host = tuple[str, str]  # tenant, and name or address

# Addresses that carry another one inside (NAT64, 6to4, Teredo, IPv4-compatible) or that the tables
# of some Python versions lack. IPv4-mapped ones are unwrapped instead: resolvers hand those out for
# ordinary hosts.
REFUSED_NETS = tuple(
    ipaddress.ip_network(net)
    for net in (
        "168.63.129.16/32",  # Azure's own services, on every machine there
        *("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24"),
        *(
            "::/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fec0::/10",
        ),
    )
)

log = logging.getLogger(__name__)


class Refused(Exception):
    """The target may not be called, now or later. The message is for the tenant: it names no
    address that was found."""


class Unreachable(Exception):
    """No answer: the name does not resolve, nobody listens, TLS fails, or it took too long. Trying
    again may help."""


@dataclass(frozen=True)
class _Silence:
    times: int  # calls without an answer, one after another; not counted on after a few
    until: float  # when the host may be called again, by the monotonic clock


def is_public(address: str) -> bool:
    """Whether anybody on the Internet could call this address as well as we can."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    special = (
        ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    )
    return ip.is_global and not special and not any(ip in net for net in REFUSED_NETS)


def split(url: str) -> tuple[SplitResult, str, int]:
    """A URL taken apart, with its host and port.

    Raises:
        Refused: it is none that a webhook can have.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused(f"not a URL: {error}") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise Refused("a webhook's URL begins with http:// or https:// and names a host")
    if parts.username is not None:
        raise Refused(
            "a webhook's URL carries no user name or password; the signature says who calls"
        )
    return parts, parts.hostname, port or PORTS[parts.scheme]


def resolve(host: str, port: int, allowed: Allowed) -> list[str]:
    """The addresses of a host, all of them fit to be called.

    Raises:
        Refused: one of them is private, loopback, link-local, … and no administrator allowed this
        host. Unreachable: there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA does not know
        raise Unreachable(f"{host} does not resolve") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if allowed.host(host, port):
        return addresses
    for address in addresses:
        if not is_public(address) and not allowed.address(address):
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            log.warning("no webhook goes to %s, which is not a public address: %s", address, target)
            advice = f"an administrator may allow it (PROMPTMILL_WEBHOOK_ALLOW={target})"
            raise Refused(f"{host} is not at a public address; {advice}")
    return addresses


class Turnstile:
    """Keeps hosts that do not answer from holding up a tenant's deliveries to others: a few calls
    to a host at once, one where the last got no answer, and none for as long as that took, twice as
    long after the next, and so on.

    A host is one tenant's: what strangers' deliveries met there says nothing of it, and must not
    hold it up. Safe for threads; each process finds out for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[Host] = Counter()  # under way
        # The last to fall silent is the last.
        self._silent: OrderedDict[Host, _Silence] = OrderedDict()

    def enter(self, host: Host) -> float:
        """Seconds until it may be called; 0 for now, and then `leave` is to follow."""
        with self._lock:
            calls, silence = self._calls[host], self._silent.get(host)
            if calls >= (1 if silence else MOST_PER_HOST):
                return PAUSE * random.uniform(0.9, 1.1)
            wait = silence.until - time.monotonic() if silence else 0.0
            if wait > 0:
                return wait * random.uniform(1.0, 1.1)
            self._calls[host] += 1
            return 0.0

    def leave(self, host: Host, *, answered: bool, seconds: float) -> None:
        """The call is over, which took so many `seconds`."""
        with self._lock:
            self._calls[host] -= 1
            if not self._calls[host]:
                del self._calls[host]
            before = self._silent.pop(host, None)
            if answered:
                return
            times = min(before.times + 1, 4) if before else 1
            pause = min(LONGEST_PAUSE, seconds * 2.0 ** (times - 1))
            self._silent[host] = _Silence(times, time.monotonic() + pause)
            while len(self._silent) > MOST_SILENT:
                self._silent.popitem(last=False)


def _reason(error: Exception | None) -> str:
    """What went wrong, as a tenant may read it: no address, and nothing that the other side
    said."""
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
    """Trusts what the system trusts (a company's own authority too) and Mozilla's list, which slim
    images lack."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Call(threading.Thread):
    """One POST, on a thread of its own: only so does one bound hold for all of it.

    The resolver takes no timeout, and a socket's starts anew with each byte of a slow answer.
    """

    def __init__(
        self, url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, timeout: float
    ):
        super().__init__(name="webhook-call", daemon=True)
        self._url, self._body, self._headers, self._allowed = url, body, headers, allowed
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        # Guards the two below: what is given up must not connect afterwards.
        self._lock = threading.Lock()
        self._given_up = False
        self._socket: socket.socket | None = None
        self._status: int | None = None
        self._error: Exception | None = None

    def answer(self) -> int:
        """The status code of the answer; raises what `post` says."""
        self.start()
        self.join(self._timeout)
        late = self.is_alive()
        if late:
            self._give_up()
        if self._status is not None:
            return self._status
        # What the thread meets once it is given up is of our own making.
        raise self._error if self._error and not late else self._too_late()

    def run(self) -> None:
        try:
            self._post()
        except (Refused, Unreachable) as error:
            self._error = error
        except TimeoutError:  # the socket noticed before `answer` did
            self._error = self._too_late()
        except (OSError, http.client.HTTPException) as error:
            self._error = Unreachable(_reason(error))
        except Exception as error:
            # A thread's exception would be lost, and the caller left without an answer.
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
            self._status = response.status  # that is the answer, whatever becomes of its body
            response.read(ANSWER_LIMIT)
        finally:
            connection.close()
            if self._socket is not None:
                self._socket.close()  # a failed handshake leaves this one, not the connection's

    def _connect(self, addresses: list[str], port: int) -> socket.socket:
        """A connection to the first address that takes one. The address is numeric: nothing is
        resolved again."""
        error: OSError | None = None
        for address in addresses:
            try:
                return self._hold(socket.create_connection((address, port), timeout=self._left()))
            except OSError as problem:
                error = problem
        raise Unreachable(f"cannot connect: {_reason(error)}") from error

    def _encrypt(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """TLS with the certificate checked against the name in the URL, though the connection was
        made by address."""
        encrypted = tls().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._hold(encrypted)
        encrypted.do_handshake()
        return encrypted

    def _hold(self, connected: socket.socket) -> socket.socket:
        with self._lock:
            if self._given_up:
                connected.close()
                raise Unreachable("given up")
            self._socket = connected
        return connected

    def _too_late(self) -> Unreachable:
        return Unreachable(f"no answer within {self._timeout:g} s")

    def _left(self) -> float:
        return max(0.01, self._deadline - time.monotonic())

    def _give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it had ended by itself
                    # The plain socket's method wakes a thread that reads through TLS, too.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, timeout: float
) -> int:
    """POST `body`; answers the status code. At most `timeout` seconds, name resolution and all.

    Raises:
        Refused: the target may not be called.
        Unreachable: it did not answer.
    """
    return Call(url, body, headers, allowed=allowed, timeout=timeout).answer()
