"""Reverse proxies for tests, run with the configurations of docs/deployment.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests

from cli.valkey import free_port
from tests.support.processes import spawn
from tests.support.requirements import missing

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
START = 15.0  # seconds a proxy may take to listen


def blocks(kind: str) -> list[str]:
    """The page's configurations of a proxy, in order: at the root, and under a path."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.S)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and its key."""
    if not shutil.which("openssl"):
        missing("openssl")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            cert,
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@dataclass(frozen=True)
class Ports:
    backend: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    plain: int = field(default_factory=free_port)


class Proxy:
    """A proxy before a web tier, by TLS and on another port in plain HTTP."""

    def __init__(self, folder: Path, ports: Ports):
        self.folder = folder
        self.ports = ports
        self.cert: Path

    def start(self, command: list[str | Path]) -> None:
        with (self.folder / "proxy.log").open("wb") as log:
            self._process = spawn(command, stdout=log, stderr=log)
        end = time.monotonic() + START
        while True:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    session.get(f"http://127.0.0.1:{self.ports.plain}/", timeout=2)
                return
            except requests.ConnectionError:
                said = (self.folder / "proxy.log").read_text()
                assert time.monotonic() < end and self._process.poll() is None, said
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(15)


class Nginx(Proxy):
    """`under` is empty, or `handed on` or `cut off`: what becomes of the path /promptmill."""

    def __init__(self, folder: Path, ports: Ports, under: str = ""):
        super().__init__(folder, ports)
        binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if not binary:
            missing("nginx (Debian's package `nginx`)")
        self.cert, key = certificate(folder)
        server, location = blocks("nginx")
        if under:
            server = re.sub(
                r"    location / \{.*?\n    \}\n", lambda _: location, server, flags=re.S
            )
        backends = f"http://127.0.0.1:{ports.backend}" + ("/;" if under == "cut off" else ";")
        for old, new in (
            (
                "listen 443 ssl;",
                f"listen 127.0.0.1:{ports.tls} ssl; listen 127.0.0.1:{ports.plain};",
            ),
            ("/etc/ssl/queue.example.org.pem", str(self.cert)),
            ("/etc/ssl/queue.example.org.key", str(key)),
            ("http://127.0.0.1:8000;", backends),
        ):
            assert server.count(old) == 1, f"the page's configuration has no {old}"
            server = server.replace(old, new)
        places = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{places}{server}}}\n"
        )
        self.start([binary, "-p", folder, "-c", config])


class Caddy(Proxy):
    def __init__(self, folder: Path, ports: Ports, under: str = ""):
        super().__init__(folder, ports)
        binary = shutil.which("caddy")
        if not binary:
            missing("Caddy (Debian's package `caddy`)")
        self.cert, key = certificate(folder)
        server = blocks("caddy")[1 if under else 0]
        name = "example.org {" if under else "queue.example.org {"
        assert server.startswith(name) and server.count("127.0.0.1:8000") == 1
        server = server.replace("127.0.0.1:8000", f"127.0.0.1:{ports.backend}").removeprefix(name)
        if under == "cut off":
            server = server.replace("handle /", "handle_path /")
        options = f"{{\nadmin off\nauto_https off\nstorage file_system {folder}\n}}\n"
        config = folder / "Caddyfile"
        tls = f"https://127.0.0.1:{ports.tls} {{\ntls {self.cert} {key}\n{server}"
        config.write_text(f"{options}{tls}http://127.0.0.1:{ports.plain} {{\n{server}")
        self.start([binary, "run", "--config", config, "--adapter", "caddyfile"])
