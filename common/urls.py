"""Checks the URLs, hosts and origins of the web tier, and writes them in one form. Webhook URLs are
checked in `worker/receivers.py`."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLES = "such as https://queue.example.org or https://example.org/promptmill"


def web_url(text: str) -> str:
    """A URL of the web tier, which may have a path, as it stands before `/v1/jobs`: without a slash
    at its end, the default port, or capital letters in its host.

    Raises:
        ValueError: it is no such URL; the message says why.
    """
    if re.search(r"[\s\x00-\x20\x7f\\]", text):  # `urlsplit` would remove some of them
        raise ValueError("has a space, a backslash or a control character in it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"must begin with http:// or https://, {EXAMPLES}")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(f"must have no user, query or fragment, {EXAMPLES}")
    if not PATH.fullmatch(parts.path):
        raise ValueError(
            "has a path with more than letters, digits and . _ ~ -, or a part that begins with a "
            "dot"
        )
    if port == 0:
        raise ValueError("has no good port: 0")
    host = in_url(host_name(parts.hostname or ""))
    shown = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def host_name(text: str) -> str:
    """A host's address or name, without the brackets of an IPv6 address.

    Raises:
        ValueError: it is neither.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        name = text.encode("idna").decode().lower() if text else ""
    except UnicodeError:
        name = ""
    if not NAME.fullmatch(name):
        raise ValueError(f"has no good host: {text!r}")
    return name


def in_url(host: str) -> str:
    """A host as URLs have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def origin(url: str) -> str:
    """The origin of pages at this URL, as browsers name it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def parse_origins(text: str) -> frozenset[str]:
    """Comma-separated origins, as browsers name them, or `*`.

    Raises:
        ValueError: a part is no origin; the message names it.
    """
    found = set()
    for each in filter(None, map(str.strip, text.split(","))):
        if each == "*":
            found.add(each)
            continue
        try:
            url = web_url(each)
        except ValueError as error:
            raise ValueError(f"{each[:128]!r} is no origin: it {error}") from None
        if urlsplit(url).path:
            raise ValueError(f"{each[:128]!r} is no origin: it has a path; leave it out")
        found.add(url)
    if "*" in found and len(found) > 1:
        raise ValueError("`*` stands for all origins; name no others beside it")
    return frozenset(found)
