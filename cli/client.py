"""The command line's HTTP client of the native API; it sends each request once.

`promptmill.Client` in `client/` is what users import; docs/decisions/0014-client.md says why there
are two.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from cli.folder import DataFolder, find_server
from common.errors import ConfigError, PromptmillError
from common.types import JobState, JsonObject
from common.urls import web_url

TIMEOUT = (5, 120)  # seconds to connect, and between two bytes of an answer
POLL = 0.5  # seconds between two requests for a job's state
MOST_JOBS = 100  # of a page
EVALUATED = ("done", "failed")  # states of an evaluation that is over
SWEEP = "sweep_"  # how a sweep's id begins
# Faults with a line that no row has alone: the file cannot be read beyond it.
FAULTS_OF_FILES = ("malformed_file", "invalid_header", "too_many_blank_lines")
PATIENCE = 60.0  # seconds that the server may be unreachable while a job is watched


class RequestRefused(PromptmillError):
    """The server refused the request. `of_rows`: for faults of rows, each of which it could have
    taken as a failed item."""

    def __init__(self, message: str, *, of_rows: bool = False, code: str | None = None):
        super().__init__(message, code=code)
        self.of_rows = of_rows


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

    def upload(
        self, file: Path, options: JsonObject, path: str = "/v1/jobs", part: str = "job"
    ) -> JsonObject:
        """Send a file to what takes uploads: jobs, previews, sweeps, evaluations. `part` is what
        the options are called."""
        with file.open("rb") as stream:
            parts = {
                part: (None, json.dumps(options), "application/json"),
                "file": (file.name, stream),
            }
            return self._call("POST", path, files=parts)

    def job(self, job_id: str) -> JsonObject:
        return self._call("GET", _job_path(job_id))

    def sweep(self, sweep_id: str) -> JsonObject:
        return self._call("GET", _sweep_path(sweep_id))

    def comparison(self, job_ids: str, wait: int) -> JsonObject:
        """Jobs compared, ids with commas; answers when it is computed, or after `wait` seconds."""
        return self._call("GET", "/v1/comparisons", params={"jobs": job_ids, "wait": wait})

    def cancel_sweep(self, sweep_id: str) -> JsonObject:
        return self._call("POST", f"{_sweep_path(sweep_id)}/cancel")

    def jobs(self, limit: int, query: JsonObject) -> Iterator[JsonObject]:
        """Up to `limit` jobs, newest first."""
        after: JsonObject = {}
        while limit > 0:
            asked = query | after | {"limit": min(limit, MOST_JOBS)}
            page = self._call("GET", "/v1/jobs", params=asked)
            yield from page["data"]
            if not page["has_more"]:
                return
            limit -= len(page["data"])
            after = {"after": page["after"]}

    def cancel(self, job_id: str) -> JsonObject:
        return self.change(job_id, "cancel")

    def change(self, job_id: str, verb: str, **body: Any) -> JsonObject:
        """`pause`, `resume`, `cancel`, `retry` or `rerun`; the job, or the new one."""
        return self._call("POST", f"{_job_path(job_id)}/{verb}", **({"json": body} if body else {}))

    def delete(self, job_id: str) -> None:
        self._send("DELETE", _job_path(job_id)).close()

    def models(self) -> list[JsonObject]:
        return list(self._call("GET", "/v1/models")["data"])

    def items(self, job_id: str) -> Iterator[JsonObject]:
        """Every item with its prompt and, if it is finished, its result."""
        after: int | None = None
        while True:
            query = {} if after is None else {"after": after}
            page = self._call("GET", f"{_job_path(job_id)}/items", params=query)
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page["after"]

    def results(self, job_id: str, kind: str, query: JsonObject | None = None) -> Iterator[bytes]:
        """The results as a file, in pieces."""
        yield from self._file(f"{_job_path(job_id)}/results.{kind}", query)

    def evaluate(self, job_id: str, asked: JsonObject, references: Path | None) -> JsonObject:
        """Begin an evaluation of a job, with the references of a file or those of its items."""
        path = f"{_job_path(job_id)}/evaluations"
        if references:
            return self.upload(references, asked, path, part="evaluation")
        return self._call("POST", path, json=asked)

    def create_study(self, wanted: JsonObject) -> JsonObject:
        return self._call("POST", "/v1/studies", json=wanted)

    def study(self, study_id: str) -> JsonObject:
        """A study with what its votes amount to."""
        return self._call("GET", _study_path(study_id))

    def add_rater(self, study_id: str, name: str) -> JsonObject:
        """A link for a person who rates."""
        return self._call("POST", f"{_study_path(study_id)}/raters", json={"name": name})

    def study_export(self, study_id: str, kind: str) -> Iterator[bytes]:
        """All ratings as a file, in pieces."""
        return self._file(f"{_study_path(study_id)}/export.{kind}")

    def watch_evaluation(self, evaluation_id: str) -> Iterator[JsonObject]:
        """The evaluation every half second until it ends, across restarts of the server."""
        path = f"/v1/evaluations/{quote(evaluation_id, safe='')}"
        return _until_over(lambda: self._call("GET", path), lambda status: status in EVALUATED)

    def watch(self, job_id: str) -> Iterator[JsonObject]:
        """The job every half second until it ends, across restarts of the server."""
        return _until_over(lambda: self.job(job_id), lambda status: JobState(status).terminal)

    def _call(self, method: str, path: str, **options: Any) -> JsonObject:
        with self._send(method, path, **options) as response:
            answer: JsonObject = response.json()
            return answer

    def _file(self, path: str, query: JsonObject | None = None) -> Iterator[bytes]:
        with self._send("GET", path, params=query, stream=True) as response:
            try:
                yield from response.iter_content(65536)
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                raise ServerUnreachable(
                    f"{self._url} closed the connection within the file; get it again"
                ) from None

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
            raise RequestRefused(
                _problem(response), of_rows=_of_rows(response), code=_code(response)
            )
        return response


def _until_over(
    read: Callable[[], JsonObject], is_over: Callable[[str], bool]
) -> Iterator[JsonObject]:
    """What `read` answers, every half second until its status says that it is over."""
    away_since: float | None = None
    while True:
        try:
            found = read()
            away_since = None
            yield found
            if is_over(found["status"]):
                return
        except ServerUnreachable:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENCE:
                raise
        time.sleep(POLL)


def open_client(folder: DataFolder) -> Client:
    """A client of the server that the environment, or else the data folder, names."""
    return Client(*find_server(folder))


def _job_path(job_id: str) -> str:
    if job_id.startswith(SWEEP):
        raise RequestRefused(
            f"{job_id} is a sweep; name one of its jobs: `promptmill jobs show {job_id}` lists them"
        )
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _study_path(study_id: str) -> str:
    return f"/v1/studies/{quote(study_id, safe='')}"


def _sweep_path(sweep_id: str) -> str:
    return f"/v1/sweeps/{quote(sweep_id, safe='')}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(response: requests.Response) -> str:
    """The errors in the server's answer, one on each line."""
    try:
        problem = response.json()
        if isinstance(problem.get("error"), dict):  # as OpenAI's clients read it
            return str(problem["error"]["message"])
        lines = [problem["detail"]]
        for error in problem.get("errors", []):
            where = [f"line {error['line']}" if "line" in error else None, error.get("field")]
            place = ", ".join(part for part in where if part)
            if place and not problem["detail"].endswith(error["message"]):
                lines.append(f"  {place}: {error['message']}")
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {response.status_code} {response.reason}"


def _code(response: requests.Response) -> str | None:
    """The code of the server's error, where it is one of the native API."""
    try:
        code = response.json()["code"]
        return code if isinstance(code, str) else None
    except (ValueError, KeyError, TypeError):
        return None


def _of_rows(response: requests.Response) -> bool:
    try:
        errors = response.json()["errors"]
        return bool(errors) and all(
            "line" in error and error["code"] not in FAULTS_OF_FILES for error in errors
        )
    except (ValueError, KeyError, TypeError):
        return False
