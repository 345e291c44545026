"""Where the web tier is: the address that people and programs use, checked and written in one way.

Knows the addresses of promptmill itself, not those of webhooks.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
DEFAULT_PORTS = {"http": 80, "https": 443}
LIKE = "such as https://queue.example.org or https://example.org/promptmill"


def web_url(text: str) -> str:
    """An address of the web tier, perhaps with a path, as it is used before `/v1/jobs`: without a
    slash at the end, a port that goes without saying, or capital letters in its host.

    Raises:
        ValueError: it is none; says why.
    """
    if re.search(r"[\s\x00-\x20\x7f\\]", text):  # `urlsplit` would drop some of them
        raise ValueError("has a space, a backslash or a control character in it")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"must begin with http:// or https://, {LIKE}")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(f"must have no user, query or fragment, {LIKE}")
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
    """An address or a name, without the brackets of an IPv6 address.

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
    """A host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def origin(url: str) -> str:
    """What browsers call the origin of a page there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def parse_origins(text: str) -> frozenset[str]:
    """Comma-separated origins as browsers write them, or `*`; nothing for an empty text.

    Raises:
        ValueError: naming the one that is none.
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
