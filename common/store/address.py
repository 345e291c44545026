"""The address of the Redis server: reads a REDIS_URL, for redis-py and for Celery's broker alike.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
    rediss://…                                  the same with TLS, and ssl_… options
    unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DB]
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DB]
                                                [?sentinel_password=PASSWORD]

Characters that have a meaning in a URL are percent-encoded in user, password and service. Opens no
connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

PORT, SENTINEL_PORT = 6379, 26379
TLS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
OPTIONS = {
    "redis": (),
    "rediss": TLS,
    "unix": ("db",),
    "redis+sentinel": ("sentinel_username", "sentinel_password"),
}
HOST = re.compile(r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:/@\[\]]+))(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """A REDIS_URL in its parts. `hosts` are the server's, or the Sentinels' where there is a
    `service`."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""  # of a socket
    service: str = ""  # what the Sentinels call the server
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    # Of TLS, or the Sentinels' own login.
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            ValueError: it is none of the forms above; says what is wrong with it.
        """
        scheme, found, rest = url.partition("://")
        if not found or scheme not in OPTIONS:
            raise ValueError(
                "must begin with redis://, rediss:// (TLS), unix:// or redis+sentinel://, like "
                "redis://127.0.0.1:6379/0"
            )
        place, _, query = rest.partition("?")
        login, _, place = place.rpartition("@")
        username, _, password = login.partition(":")
        known: dict[str, Any] = {
            "scheme": scheme,
            "username": unquote(username) or None,
            "password": unquote(password) or None,
            "options": _options(scheme, query),
        }
        if scheme == "unix":
            return cls(path=_path(place), db=_db(known["options"].pop("db", "0")), **known)
        hosts, _, path = place.partition("/")
        service = ""
        if scheme == "redis+sentinel":
            service, _, path = path.partition("/")
            if not service:
                raise ValueError(
                    "names no service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE[/DB]"
                )
        elif "," in hosts:
            raise ValueError(
                "names several hosts; only redis+sentinel:// has several, and a cluster is not "
                "supported"
            )
        port = SENTINEL_PORT if service else PORT
        return cls(
            hosts=_hosts(hosts, port), service=unquote(service), db=_db(path or "0"), **known
        )

    @property
    def login(self) -> dict[str, str]:
        """User and password, as far as they are given."""
        return {name: value for name in ("username", "password") if (value := getattr(self, name))}

    @property
    def sentinel_login(self) -> dict[str, str]:
        """The same for the Sentinels."""
        return {
            name.removeprefix("sentinel_"): value
            for name, value in self.options.items()
            if self.service
        }

    def broker(self) -> dict[str, Any]:
        """Celery's settings for it: `broker_url`, and what goes with it."""
        login = (
            f"{quote(self.username or '', '')}:{quote(self.password or '', '')}@"
            if self.login
            else ""
        )
        if self.path:
            return {
                "broker_url": f"redis+socket://{login}{quote(self.path)}?"
                + urlencode({"virtual_host": self.db})
            }
        hosts = [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        ]
        if self.service:
            # Celery goes from one to the next, each with all that is needed.
            return {"broker_url": ";".join(f"sentinel://{login}{host}/{self.db}" for host in hosts)}
        tls = (
            {"broker_use_ssl": {"ssl_cert_reqs": "required"} | self.options}
            if self.scheme == "rediss"
            else {}
        )
        return {"broker_url": f"{self.scheme}://{login}{hosts[0]}/{self.db}"} | tls


def without_secrets(url: str) -> str:
    """A URL as it may be shown, whether it is a good one or not."""
    return re.sub(r"(password=)[^&]*", r"\1**", re.sub(r"//.*@", "//", url))


def _options(scheme: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS[scheme]:
            known = ", ".join(OPTIONS[scheme]) or "none"
            raise ValueError(f"has an unknown option {name}; a {scheme}:// URL may have {known}")
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in (
            "false",
            "0",
            "no",
        )
    return options


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for part in text.split(","):
        match = HOST.fullmatch(part)
        if not match:
            raise ValueError(f"has no good host and port: {part!r}" if part else "names no host")
        number = int(match["port"] or port)
        if not 0 < number < 65536:
            raise ValueError(f"has the port {number}, which is none")
        found.append((match["six"] or unquote(match["name"]), number))
    return tuple(found)


def _path(text: str) -> str:
    if not text.startswith("/") or text == "/":
        raise ValueError("names no socket: unix:///PATH/TO/SOCKET, with three slashes")
    return unquote(text)


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(f"has the database {text!r}, which is no number")
    return int(text)
