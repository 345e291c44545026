"""`promptmill up`: starts, watches and ends the Redis server, the web tier and the workers on one
machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, get_args

import click
import requests

from cli.children import LOOK, Child, Children, end_on_signals
from cli.commands import Command
from cli.folder import DataFolder, ServerInfo, data_option
from cli.loading import Loading
from cli.login_link import TENANT, login_link
from cli.parts import GRACE_MARGIN
from cli.ports import find_port
from cli.terminal import PrintLine, print_line
from cli.valkey import Valkey, server_memory
from common.errors import ConfigError, Unauthorized, Unavailable
from common.model_names import DEMO_MODEL, demo_folder
from common.settings import Settings
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.sessions import Sessions
from common.store.tenants import Tenants
from common.store.version import meet_store
from common.worker_command import DATA

ENGINES = get_args(Settings.model_fields["engine"].annotation)
WEB_PROCESSES = 2  # unless the settings name a number
WEB_LIMIT = 60.0  # seconds until the web tier must answer


def up_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `up` and `demo`."""
    for option in (
        click.option(
            "--engine", type=click.Choice(ENGINES), help="Engine of the model; auto if not given."
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 64),
            help="Number of generation workers; if not given, as many as there are GPUs for.",
        ),
        click.option("--model", help="Hub id, local folder, smollm2-135m (demo model) or echo."),
        data_option,
        click.option(
            "--port",
            type=click.IntRange(1, 65535),
            help="Port of the web tier; 8000 or the next free one if not given.",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=Command)
@up_options
def up(folder: DataFolder, **options: Any) -> None:
    """Start everything on this machine.

    That is a Redis server (unless REDIS_URL names one), the web tier, the webhook worker, the
    evaluator and the generation workers. Ctrl-C stops them.
    """
    running = Up(folder, print_line, **options)
    end_on_signals()
    try:
        running.start()
        running.show_usage()
        running.run()
    except KeyboardInterrupt:
        pass
    finally:
        running.stop()


class Up:
    """One `promptmill up`. `env` is added to the environment of the parts."""

    def __init__(
        self,
        folder: DataFolder,
        print_line: PrintLine,
        *,
        port: int | None = None,
        model: str | None = None,
        workers: int | None = None,
        engine: str | None = None,
        env: Mapping[str, str] | None = None,
    ):
        self._folder = folder
        self._print_line = print_line
        self._workers = workers
        overrides = {"port": port, "model": model, "engine": engine}
        self.settings = Settings.load(
            **{name: value for name, value in overrides.items() if value is not None}
        )
        self._env = {**os.environ, **(env or {})}
        self._valkey: Valkey | None = None
        self._parts: Children | None = None
        self._loading: Loading | None = None

    def start(self) -> None:
        """Start all parts and wait until the web tier answers. The workers may still load the model
        when it returns.

        Raises:
            ConfigError: the folder is in use, the port is taken, or a part does not start.
        """
        self._check_demo_model()
        self._folder.take()
        self._print_line("Starting …")
        leftovers = self._folder.end_leftovers()
        if leftovers:
            self._print_line(f"Ended {leftovers} processes of an earlier run that was killed.")
        port = find_port(
            self.settings.host,
            self.settings.port,
            fixed="port" in self.settings.model_fields_set,
            print_line=self._print_line,
        )
        redis_url = self._find_redis()
        self.settings = self.settings.model_copy(update={"port": port, "redis_url": redis_url})
        self._env |= {
            "REDIS_URL": redis_url,
            "PROMPTMILL_PORT": str(port),
            "PROMPTMILL_MODEL": self.settings.model,
            "PROMPTMILL_ENGINE": self.settings.engine,
            "PROMPTMILL_WEB_PROCESSES": str(self._web_processes()),
            # Whoever started `up` may drain its workers.
            "PROMPTMILL_OPERATORS": self.settings.operators or TENANT,
            DATA: str(self._folder.path),
        }
        self._client = connect(redis_url)
        meet_store(self._client)
        self.api_keys, self.tenants = ApiKeys(self._client), Tenants(self._client)
        self.server = ServerInfo.of(self.settings, self._find_key())
        self._parts = Children(self._stages(), self._print_line, self._folder.remember_children)
        self._parts.start()
        self._wait_for_web()
        self._folder.remember_server(self.server)

    def run(self) -> None:
        """Watch the parts until KeyboardInterrupt, and start those again that crash.

        Raises:
            ConfigError: a part ended before it was ready; starting it again would not help.
        """
        assert self._parts
        while True:
            if self._loaded():
                self._parts.tend()
            if self._valkey and (news := self._valkey.tend()):
                self._print_line(news)
            time.sleep(LOOK)

    def wait_for_worker(self) -> None:
        """Wait until a worker has loaded the model.

        Raises:
            ConfigError: a part ended before that; the message has its last log lines.
        """
        while not self._loaded():
            time.sleep(0.1)

    def _loaded(self) -> bool:
        """Whether the model was loaded; tells how far that is, until it is done."""
        if self._loading is None:
            self._loading = Loading(self.settings, self._folder.logs, self._print_line)
        if not self._loading.done:
            self._check_parts()
            self._loading.look(self.ready)
        return self._loading.done

    @property
    def ready(self) -> bool:
        """Whether one of our workers serves. Workers of an earlier run may still be listed."""
        assert self._parts
        try:
            return any(worker.pid in self._parts.pids for worker in Fleet(self._client).workers())
        except Unavailable:
            return False

    def stop(self) -> None:
        """End the parts in order: the web tier, then the workers, which hand back what they cannot
        finish, then the Redis server."""
        if self._parts:
            self._print_line(
                f"Stopping; the workers have {self.settings.grace:.0f} s to finish (Ctrl-C again: "
                "stop at once)."
            )
            self._parts.stop()
        if self._valkey:
            self._valkey.stop()
        self._folder.let_go()

    def show_usage(self) -> None:
        """Print the URL, a login link and a command that submits a job."""
        url, key = self.server.url, self.server.api_key
        job = '{"prompts": ["Once upon a time"], "params": {"max_tokens": 50}}'
        self._print_line(f"promptmill runs at {url}; data and logs are in {self._folder.path}")
        self._print_line(f"  log in (works once): {self.login_link()}")
        headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        self._print_line(f"  submit: curl {url}/v1/jobs {headers} -d '{job}'")

    def login_link(self) -> str:
        return login_link(self.server.url, Sessions(self._client), TENANT)

    def _check_demo_model(self) -> None:
        wanted = self.settings.model == DEMO_MODEL and not self.settings.is_echo
        if wanted and not (demo_folder(self.settings.cache) / "config.json").exists():
            raise ConfigError(
                f"there is no model: `promptmill model fetch-demo` fetches {DEMO_MODEL}, or name "
                "one with --model"
            )

    def _web_processes(self) -> int:
        """The number in the settings; else two if there are two cores, so that a long request does
        not stop all others."""
        if "web_processes" in self.settings.model_fields_set:
            return self.settings.web_processes
        return min(WEB_PROCESSES, usable_cores())

    def _find_redis(self) -> str:
        if "REDIS_URL" in os.environ:
            return self.settings.redis_url
        limit = self.settings.server_bytes
        self._valkey = Valkey(self._folder.path, memory=server_memory() if limit is None else limit)
        return self._valkey.start()

    def _find_key(self) -> str:
        """The API key in the data folder if it is valid, else a new one."""
        known = self._folder.server()
        if known:
            try:
                self.api_keys.tenant_of_key(known.api_key)
                return known.api_key
            except Unauthorized:
                pass
        return self.api_keys.create_key(TENANT, "promptmill up")

    def _stages(self) -> list[list[Child]]:
        """The parts in the order of their end: the web tier first, so that no new job comes."""
        count = self._workers
        if count is None:
            from worker.gpu import worker_count

            count = worker_count(self.settings)
        logs, limit = self._folder.logs, self.settings.grace + GRACE_MARGIN
        workers = [
            Child(
                "worker",
                ["worker", "--processes=1"],
                self._env,
                log=logs / f"worker-{n}.log",
                limit=limit,
            )
            for n in range(1, count + 1)
        ]
        web = Child("web", ["serve"], self._env, log=logs / "web.log")
        others = [
            Child(name, [name], self._env, log=logs / f"{name}.log")
            for name in ("webhooks", "evaluator")
        ]
        return [[web], [*others, *workers]]

    def _wait_for_web(self) -> None:
        deadline = time.monotonic() + WEB_LIMIT
        with requests.Session() as session:
            session.trust_env = False  # no proxy for our own loopback address
            while time.monotonic() < deadline:
                try:
                    if session.get(f"{self.settings.local_url}/healthz", timeout=5).ok:
                        return
                except (requests.ConnectionError, requests.Timeout):
                    pass
                self._check_parts()
                time.sleep(0.05)
        raise ConfigError(
            f"the web tier did not answer in {WEB_LIMIT:.0f} s; its log is in {self._folder.logs}"
        )

    def _check_parts(self) -> None:
        assert self._parts
        failed = self._parts.failed()
        if failed:
            raise ConfigError(
                f"{failed.name} ended while starting, exit code {failed.exit_code}. Its last "
                f"output:\n{failed.last_lines()}"
            )


def usable_cores() -> int:
    """The cores that this process may use, if the system says so, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
