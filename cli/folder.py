"""The data folder of `promptmill up`: its lock, the address of its server, and its processes.

lock            locked by the `up` that uses the folder; the kernel releases it when that ends
server.json     URL, API key and Redis URL of the server, for the other commands (mode 0600)
children.json   process ids and start times of the parts; the next `up` ends those that are left
redis/          data of the embedded server
logs/           logs of the parts
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import click
import psutil
from click.core import ParameterSource

from cli.valkey import is_full, write_private
from common.adapters import parse_adapters
from common.errors import ConfigError
from common.model_names import is_folder
from common.settings import Settings

DEFAULT = Path("promptmill-data")
END_LIMIT = 5.0  # seconds that a process of an earlier run may take to end


@dataclass(frozen=True)
class ServerInfo:
    """How other commands reach a running promptmill, and which models it serves: what
    PROMPTMILL_MODEL, PROMPTMILL_ENGINE, PROMPTMILL_SERVED_NAME and PROMPTMILL_ADAPTERS say."""

    url: str
    api_key: str
    redis_url: str
    model: str = ""
    engine: str = ""
    served_name: str = ""
    adapters: str = ""

    @classmethod
    def of(cls, settings: Settings, api_key: str) -> ServerInfo:
        model = settings.model
        if is_folder(model):  # which other commands may find from other folders, too
            model = str(Path(model).expanduser().resolve())
        return cls(
            settings.base_url,
            api_key,
            settings.redis_url,
            model,
            settings.engine,
            settings.model_name,
            ",".join(
                f"{name}={path.expanduser().resolve()}"
                for name, path in parse_adapters(settings.adapters).items()
            ),
        )


class DataFolder:
    def __init__(self, path: Path):
        self.path = path.absolute()
        self._lock: TextIO | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def take(self) -> None:
        """Lock the folder until this process ends.

        Raises:
            ConfigError: another `up` uses it; the message has its URL.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            server = self.server()
            where = f"at {server.url}" if server else "and is starting"
            raise ConfigError(f"promptmill already runs on {self.path}, {where}") from None
        self._lock = lock

    def let_go(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def server(self) -> ServerInfo | None:
        try:
            return ServerInfo(**json.loads((self.path / "server.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # TypeError: written by another version
            return None

    def remember_server(self, server: ServerInfo) -> None:
        write_private(self.path / "server.json", json.dumps(asdict(server), indent=2) + "\n")

    def remember_children(self, pids: list[int]) -> None:
        children = []
        for pid in pids:
            try:
                children.append([pid, psutil.Process(pid).create_time()])
            except psutil.NoSuchProcess:  # it has ended
                continue
        try:
            write_private(self.path / "children.json", json.dumps(children))
        except OSError as error:
            if not is_full(error):
                # On a full disk the old list stays. Parts that are not in it still end when their
                # parent does.
                raise

    def end_leftovers(self) -> int:
        """End the processes that an earlier, killed `up` left. Returns how many they were.

        Process ids are used again, so a process must also have the start time that was recorded.
        """
        try:
            recorded = json.loads((self.path / "children.json").read_text())
        except (FileNotFoundError, ValueError):
            return 0
        ours: list[psutil.Process] = []
        for pid, created in recorded:
            try:
                process = psutil.Process(pid)
                if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                    ours += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        for process in ours:
            process.terminate()
        _, stubborn = psutil.wait_procs(ours, timeout=END_LIMIT)
        for process in stubborn:
            process.kill()
        psutil.wait_procs(stubborn, timeout=END_LIMIT)
        return len(ours)


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data DIR`, given to the command as `folder`."""
    return click.option(
        "--data",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT,
        show_default=True,
        help="Data folder of the server.",
        callback=lambda _context, _option, path: DataFolder(path),
    )(command)


def find_server(folder: DataFolder) -> tuple[str, str]:
    """URL and API key, from the environment, else from the data folder."""
    server = folder.server()
    url = os.environ.get("PROMPTMILL_URL") or (server.url if server else None)
    key = os.environ.get("PROMPTMILL_API_KEY") or (server.api_key if server else None)
    if not url or not key:
        raise ConfigError(
            "no server known: set PROMPTMILL_URL and PROMPTMILL_API_KEY, or name a server's data "
            f"folder with --data ({folder.path} has no server; `promptmill up` starts one)"
        )
    return url.rstrip("/"), key


def is_named(option: str) -> bool:
    """Whether an option of this command was given, and does not have its default."""
    return click.get_current_context().get_parameter_source(option) == ParameterSource.COMMANDLINE


def join_server(folder: DataFolder) -> None:
    """Let a part that this process becomes belong to the server of a data folder, in what the
    environment does not say: the Redis server, the model and its adapters.

    Raises:
        ConfigError: the folder was named, and has no server.
    """
    server = folder.server()
    if not server and is_named("folder"):
        raise ConfigError(f"{folder.path} has no server; `promptmill up --data …` starts one")
    if not server or "REDIS_URL" in os.environ:
        return
    os.environ["REDIS_URL"] = server.redis_url
    if not {"PROMPTMILL_MODEL", "PROMPTMILL_SERVED_NAME"} & os.environ.keys() and server.model:
        os.environ["PROMPTMILL_MODEL"] = server.model
        os.environ["PROMPTMILL_SERVED_NAME"] = server.served_name
        os.environ.setdefault("PROMPTMILL_ENGINE", server.engine)
        os.environ.setdefault("PROMPTMILL_ADAPTERS", server.adapters)


def find_settings(folder: DataFolder) -> Settings:
    """Settings from the environment; without REDIS_URL, with the Redis of the data folder."""
    server = folder.server()
    if server and "REDIS_URL" not in os.environ:
        return Settings.load(redis_url=server.redis_url)
    return Settings.load()
