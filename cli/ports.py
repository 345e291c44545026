"""Finds a free port for the web tier."""

from __future__ import annotations

import socket

from cli.terminal import PrintLine
from common.errors import ConfigError

TRIED = 100  # ports that are tried, from the first one on


def find_port(host: str, first: int, *, fixed: bool, print_line: PrintLine) -> int:
    """The port `first`, or unless it is `fixed` the next free one.

    Raises:
        ConfigError: the ports are taken.
    """
    if is_free(host, first):
        return first
    if fixed:
        raise ConfigError(f"port {first} of {host} is taken; choose another with --port")
    for port in range(first + 1, first + TRIED):
        if is_free(host, port):
            print_line(f"Port {first} is taken; using {port} instead.")
            return port
    raise ConfigError(
        f"ports {first} to {first + TRIED - 1} of {host} are taken; choose one with --port"
    )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # Closed connections of an earlier server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
