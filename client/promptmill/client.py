"""A client of the native API: jobs are submitted, awaited, read and changed."""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from promptmill.errors import PromptmillError
from promptmill.shapes import OVER, Job, Row
from promptmill.transport import Transport, Upload
from promptmill.values import write_rows

DEFAULT_URL = "http://127.0.0.1:8000"
POLL = (0.25, 2.0)  # seconds between two looks at a job: at first, and at most
PAGE = 1000  # items of a page, as many as the server gives
IN_MEMORY = 16 * 2**20  # bytes of rows; more are written to a temporary file


class Client:
    """Calls one server with one API key.

    Args:
        url: the server, as it stands before `/v1/jobs`. Default: PROMPTMILL_URL, else
            http://127.0.0.1:8000.
        api_key: default: PROMPTMILL_API_KEY.
        patience: for how many seconds a request is sent again while the server is away or busy
            (429, 502, 503, 504), with growing pauses or those that it asks for.

    A client may be used by one thread at a time.
    """

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, patience: float = 300.0
    ):
        key = api_key or os.environ.get("PROMPTMILL_API_KEY")
        if not key:
            raise PromptmillError(
                "no API key: set PROMPTMILL_API_KEY, or give api_key=; `promptmill key create`"
                " makes one"
            )
        server = url or os.environ.get("PROMPTMILL_URL") or DEFAULT_URL
        self.transport = Transport(server, key, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self.transport.close()

    def models(self) -> list[dict[str, Any]]:
        """The models that the server knows, each with its card."""
        return list(self.transport.call("GET", "/v1/models")["data"])

    def submit(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """Make a job of rows.

        With `template` (or `columns`) a row is what the template's variables stand for: names and
        values. Without, it is an item of the API: `{"prompt": …}` or `{"messages": […]}`.
        `options` are the other fields of a job: `model`, `params`, `template`, `metadata` and so
        on. The same key with the same content answers the job that was made before.

        Raises:
            RequestRefused: the server found faults; nothing was queued.
        """
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            write_rows(file, rows)
            return self.upload(file, "rows.jsonl", options, idempotency_key)

    def submit_file(
        self, path: str | Path, *, idempotency_key: str | None = None, **options: Any
    ) -> Job:
        """Make a job of a file, which the server reads: JSONL, CSV, TSV, XLSX, Parquet or TXT."""
        with Path(path).open("rb") as file:
            return self.upload(file, Path(path).name, options, idempotency_key)

    def upload(
        self, file: IO[bytes], name: str, options: Mapping[str, Any], key: str | None
    ) -> Job:
        """Make a job of an open file, which can be read from its start again; `name` says by its
        suffix what it is."""
        upload = Upload(json.dumps(options).encode(), file, name)
        return self._job("POST", "/v1/jobs", key=key or _new_key(), upload=upload)

    def derive(
        self, jobs: Sequence[str], *, idempotency_key: str | None = None, **options: Any
    ) -> Job:
        """Make a job of the rows of one or two other jobs, when these are over.

        `template` has `{{output}}` for what was generated, of two jobs `{{output_a}}` and
        `{{output_b}}`. With `judge="pairs"` the job says which of two outputs is better, with
        `judge="scale"` it grades those of one.
        """
        request = {"input_from": {"jobs": list(jobs)}, **options}
        return self._job("POST", "/v1/jobs", key=idempotency_key or _new_key(), json=request)

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return self._job("GET", f"/v1/jobs/{job_id}")

    def jobs(self, **query: Any) -> Iterator[Job]:
        """Your jobs, newest first; `query` as `GET /v1/jobs` takes it."""
        yield from self._pages("/v1/jobs", {"limit": 100} | query)

    def wait(self, job_id: str, each: Callable[[Job], object] | None = None) -> Job:
        """Wait until a job is over. `each` gets the job at each look at it."""
        pause, most = POLL
        while True:
            job = self.job(job_id)
            if each:
                each(job)
            if job["status"] in OVER:
                return job
            time.sleep(pause)
            pause = min(pause * 1.2, most)

    def items(self, job_id: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item in order, with what was asked and, once it is finished, what came of it."""
        yield from self._pages(f"/v1/jobs/{job_id}/items", {"limit": PAGE} | query)

    def results(self, job_id: str, **query: Any) -> Iterator[Row]:
        """What came of the items that are finished, each once; read again from the start where
        the connection breaks. `query` as `GET /v1/jobs/{id}/results.jsonl` takes it."""
        seen: set[int] = set()
        for line in self.transport.lines(f"/v1/jobs/{job_id}/results.jsonl", query):
            row: Row | None = json.loads(line) if line else None
            if row and row["index"] not in seen:
                seen.add(row["index"])
                yield row

    def cancel(self, job_id: str) -> Job:
        """Start no more items; finished ones stay."""
        return self._job("POST", f"/v1/jobs/{job_id}/cancel")

    def pause(self, job_id: str) -> Job:
        """Start no more items until `resume`."""
        return self._job("POST", f"/v1/jobs/{job_id}/pause")

    def resume(self, job_id: str) -> Job:
        return self._job("POST", f"/v1/jobs/{job_id}/resume")

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """A new job of the items that failed. `map`, called again, takes its results, too."""
        return self._job("POST", f"/v1/jobs/{job_id}/retry", key=idempotency_key or _new_key())

    def rerun(self, job_id: str, *, idempotency_key: str | None = None, **changes: Any) -> Job:
        """A new job of the same items, without sending them again. `rows` is all, failed,
        unfinished or succeeded; `params`, `model` and `template` replace the job's."""
        key = idempotency_key or _new_key()
        return self._job("POST", f"/v1/jobs/{job_id}/rerun", key=key, json=changes)

    def delete(self, job_id: str) -> None:
        """Remove a job and its results, now."""
        self.transport.call("DELETE", f"/v1/jobs/{job_id}")

    def _job(self, method: str, path: str, **request: Any) -> Job:
        job: Job = self.transport.call(method, path, **request)
        return job

    def _pages(self, path: str, query: dict[str, Any]) -> Iterator[Any]:
        while True:
            page = self.transport.call("GET", path, query=query)
            yield from page["data"]
            if not page["has_more"]:
                return
            query = query | {"after": page["after"]}


def _new_key() -> str:
    """A key of its own for one call: the call can be sent again, and another call is another."""
    return uuid.uuid4().hex
