"""An HTTP client of the native API, and the commands `submit`, `watch`, `results` and `cancel`."""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import requests

from cli.folder import DataFolder, data_option, find_server
from cli.terminal import print_line, printable_lines
from common.errors import ConfigError, PromptmillError
from common.printable import printable
from common.types import ENDS, ItemState, JobState, JsonObject
from common.urls import web_url

TIMEOUT = (5, 120)  # seconds to connect, and between two bytes of an answer
POLL = 0.5  # seconds between two requests for a job's state
PATIENCE = 60.0  # seconds that the server may be unreachable while a job is watched
ENDED = [state.value for state in ItemState if state in ENDS]


class RequestRefused(PromptmillError):
    """The server refused the request."""


class ServerUnreachable(PromptmillError):
    code = "unreachable"
    retry = True


class Client:
    """Calls one server with one API key. Proxies are those of the environment; loopback addresses
    are called without one.

    Raises:
        ConfigError: `url` is not the URL of a web tier.
    """

    def __init__(self, url: str, api_key: str):
        try:
            self._url = web_url(url)
        except ValueError as error:
            raise ConfigError(
                f"PROMPTMILL_URL={url!r} {error}; an example is http://127.0.0.1:8000"
            ) from None
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"
        if is_loopback(urlsplit(self._url).hostname or ""):
            self._session.trust_env = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections: a server that stops waits for them."""
        self._session.close()

    def submit(self, job: JsonObject) -> JsonObject:
        return self._call("POST", "/v1/jobs", json=job)

    def upload(self, file: Path, options: JsonObject) -> JsonObject:
        with file.open("rb") as stream:
            parts = {
                "job": (None, json.dumps(options), "application/json"),
                "file": (file.name, stream),
            }
            return self._call("POST", "/v1/jobs", files=parts)

    def job(self, job_id: str) -> JsonObject:
        return self._call("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> JsonObject:
        return self._call("POST", f"/v1/jobs/{job_id}/cancel")

    def models(self) -> list[JsonObject]:
        return list(self._call("GET", "/v1/models")["data"])

    def items(self, job_id: str) -> Iterator[JsonObject]:
        """Every item with its prompt and, if it is finished, its result."""
        after: int | None = None
        while True:
            page = self._call(
                "GET", f"/v1/jobs/{job_id}/items", params={} if after is None else {"after": after}
            )
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page["after"]

    def results(self, job_id: str, kind: str) -> Iterator[bytes]:
        """The results as a file, in pieces."""
        with self._send("GET", f"/v1/jobs/{job_id}/results.{kind}", stream=True) as response:
            try:
                yield from response.iter_content(65536)
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                raise ServerUnreachable(
                    f"{self._url} closed the connection within the results; get them again"
                ) from None

    def watch(self, job_id: str) -> Iterator[JsonObject]:
        """The job every half second until it ends, across restarts of the server."""
        away_since: float | None = None
        while True:
            try:
                job = self.job(job_id)
                away_since = None
                yield job
                if JobState(job["status"]).terminal:
                    return
            except ServerUnreachable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE:
                    raise
            time.sleep(POLL)

    def _call(self, method: str, path: str, **options: Any) -> JsonObject:
        with self._send(method, path, **options) as response:
            answer: JsonObject = response.json()
            return answer

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            response = self._session.request(method, self._url + path, timeout=TIMEOUT, **options)
        except (requests.ConnectionError, requests.Timeout):
            raise ServerUnreachable(
                f"no server answers at {self._url}; is promptmill up?"
            ) from None
        if response.status_code == 503:
            raise ServerUnreachable(f"{self._url} is not available: {_problem(response)}")
        if not response.ok:
            raise RequestRefused(_problem(response))
        return response


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(response: requests.Response) -> str:
    """The errors in the server's answer, one on each line."""
    try:
        problem = response.json()
        lines = [problem["detail"]]
        for error in problem.get("errors", []):
            where = [f"line {error['line']}" if "line" in error else None, error.get("field")]
            place = ", ".join(part for part in where if part)
            if place and error["message"] != problem["detail"]:
                lines.append(f"  {place}: {error['message']}")
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} {response.reason}"


def show_progress(client: Client, job_id: str) -> JsonObject:
    """Show a progress bar until the job ends. Returns the job."""
    job = client.job(job_id)
    total, label = job["counts"]["total"], printable(job_id)
    with click.progressbar(length=total, label=label, show_pos=True, file=sys.stderr) as bar:
        for job in client.watch(job_id):
            bar.update(sum(job["counts"][state] for state in ENDED) - bar.pos)
    return job


def summary(job: JsonObject) -> str:
    counts = ", ".join(f"{job['counts'][state]} {state}" for state in ENDED if job["counts"][state])
    return (
        f"{job['status']}: {counts or 'no item finished'}; {job['usage']['completion_tokens']} "
        "tokens generated"
    )


def all_succeeded(job: JsonObject) -> bool:
    return bool(job["counts"]["succeeded"] == job["counts"]["total"])


def _parse_params(
    _context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]
) -> JsonObject:
    params: JsonObject = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value  # plain text, such as that of `stop`
    return params


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Model; may be left out if the server has only one.")
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=_parse_params,
    help="A decoding parameter, NAME=VALUE; may be given several times.",
)
@click.option("--webhook", help="URL that gets an event when the job is finished.")
@data_option
def submit(
    file: Path, model: str | None, params: JsonObject, webhook: str | None, folder: DataFolder
) -> None:
    """Submit FILE as a job and print the job's id.

    FILE is JSONL, CSV or TXT.
    """
    options: JsonObject = {"params": params}
    if model:
        options["model"] = model
    if webhook:
        options["webhook"] = {"url": webhook}
    with _client(folder) as client:
        print_line(client.upload(file, options)["id"])


@click.command()
@click.argument("job_id", metavar="ID")
@data_option
def watch(job_id: str, folder: DataFolder) -> None:
    """Show a job's progress until it ends.

    The exit code is 0 if every item succeeded, else 1.
    """
    with _client(folder) as client:
        job = show_progress(client, job_id)
    print_line(summary(job))
    sys.exit(0 if all_succeeded(job) else 1)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True
)
@data_option
def results(job_id: str, kind: str, folder: DataFolder) -> None:
    """Print the results that a job has so far.

    On a terminal control characters are escaped.
    """
    with _client(folder) as client:
        pieces = client.results(job_id, kind)
        if sys.stdout.isatty():
            sys.stdout.writelines(printable_lines(pieces))
        else:
            sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()


@click.command()
@click.argument("job_id", metavar="ID")
@data_option
def cancel(job_id: str, folder: DataFolder) -> None:
    """Cancel a job; finished items keep their results."""
    with _client(folder) as client:
        print_line(summary(client.cancel(job_id)))


def _client(folder: DataFolder) -> Client:
    return Client(*find_server(folder))
