"""One call of `map`: makes or finds the job of a table, waits for it and reads its results.

The job's idempotency key is a hash of everything that decides what is generated: the rows, the
template, the model and the parameters. No path, time or machine is in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from promptmill.client import IN_MEMORY, Client
from promptmill.errors import PromptmillError, RequestRefused, ServerUnreachable
from promptmill.progress import Progress
from promptmill.shapes import Job, Message, Row
from promptmill.tables import Table
from promptmill.templates import as_template, check_given, job_name
from promptmill.values import json_value, write_rows

VERSION = "1"  # of what is hashed; another one makes other jobs of the same tables
MOST_DELETED = 100  # jobs of the same content that were deleted, one after the other
PLACE = re.compile(r"^line \d+: ")
REASONS = 3  # kinds of failures that a message names


@dataclass(frozen=True)
class Outcome:
    """What came of a table: the output of each row, None where it has none, and why it has none, by
    position. `ran` says whether some of the failed rows ran, and may be retried."""

    job: Job
    outputs: list[Any]
    failures: dict[int, str]
    ran: bool


class Run:
    def __init__(self, client: Client, table: Table, progress: Progress):
        self._client = client
        self._table = table
        self._progress = progress
        client.transport.on_wait = progress.note

    def job(
        self,
        options: Mapping[str, Any],
        template: str | Sequence[Message] | None,
        system: str | None,
        chat: bool | None,
    ) -> Job:
        """The job of this table, when it is over."""
        asked = self._options(options, template, system, chat)
        try:
            with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
                write_rows(file, self._table.rows())
                job = self._submit(file, asked)
        except KeyboardInterrupt:
            self._progress.say("Stopped while the table was sent; the same call sends it again.")
            raise
        with self._told_when_stopped(job):
            return self._wait(job)

    def outcome(self, job: Job) -> Outcome:
        """What came of a job that is over.

        Raises:
            ServerUnreachable: the server sent fewer rows than it said.
        """
        count = len(self._table)
        outputs: list[Any] = [None] * count
        failures = dict.fromkeys(range(count), f"{job['status']} before it ran")
        ran = False
        with self._told_when_stopped(job):
            for row in self._client.results(job["id"], **_merged(job)):
                index = row["index"]
                if index >= count:  # rows that were added to the job since
                    continue
                if row["status"] == "succeeded":
                    outputs[index] = _output(row)
                    del failures[index]
                else:
                    failures[index] = _reason(row)
                    # Of a row that was refused no prompt was ever made.
                    ran = ran or (row["status"] == "failed" and row["usage"]["prompt_tokens"] > 0)
        if count - len(failures) < min(job["counts"]["succeeded"], count):
            raise ServerUnreachable("the results broke off; the same call reads them again")
        return Outcome(job, outputs, failures, ran)

    @contextmanager
    def _told_when_stopped(self, job: Job) -> Iterator[None]:
        """Ctrl-C stops the call, and not the job: say so."""
        try:
            yield
        except KeyboardInterrupt:
            self._progress.say(
                f"Stopped waiting. {job['id']} goes on at the server, {job['links']['page']}: the "
                f"same call goes on with it, promptmill.Client().cancel({job['id']!r}) stops it."
            )
            raise

    def _options(
        self,
        options: Mapping[str, Any],
        template: str | Sequence[Message] | None,
        system: str | None,
        chat: bool | None,
    ) -> dict[str, Any]:
        """The fields of the job. A row that cannot run fails, and keeps no other from running."""
        found = {"bad_rows": "fail", **options}
        check_given(template, self._table.columns, options)
        card = self._card(options["model"])
        if card and not options["model"]:
            found["model"] = card["id"]
        if not found["model"]:
            del found["model"]  # the server says which there are
        if template is not None:
            in_chat = bool(card and card["chat_template"]) if chat is None else chat
            found["template"] = as_template(template, system, in_chat)
            found.setdefault("metadata", {"name": job_name(found["template"])})
        elif system or chat is not None:
            raise ValueError("system and chat are about template, which is not given")
        plain: dict[str, Any] = json_value(found)  # parameters may be numpy's numbers, too
        return plain

    def _card(self, model: str | None) -> Mapping[str, Any] | None:
        """The card of the model, or of the only one, as far as the server has it."""
        known = self._client.models()
        if model:
            return next((entry["card"] for entry in known if entry["id"] == model), None)
        own = [entry for entry in known if not entry.get("alias_of")]
        return own[0]["card"] if len(own) == 1 else None

    def _submit(self, file: IO[bytes], options: Mapping[str, Any]) -> Job:
        """The job of this content: a new one, or the one that was made of it before. Each job that
        was deleted leaves its key, so the next one has a number behind it."""
        key = content_key(file, options)
        for number in range(1, MOST_DELETED + 1):
            numbered = key if number == 1 else f"{key}-{number}"
            try:
                return self._client.upload(file, "rows.jsonl", options, numbered)
            except RequestRefused as error:
                if error.code != "job_deleted":
                    raise
        raise PromptmillError(
            f"the jobs of this table were deleted {MOST_DELETED} times; change the template or a "
            "parameter"
        )

    def _wait(self, job: Job) -> Job:
        """The job when it and the jobs that retry it are over."""
        try:
            job = self._client.wait(job["id"], self._progress.job)
            for retry in _retries(job):
                self._client.wait(retry, self._progress.job)
            return job
        finally:
            self._progress.end()


def content_key(file: IO[bytes], options: Mapping[str, Any]) -> str:
    """The idempotency key of rows and options: the same for the same content."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    file.seek(0)
    while piece := file.read(2**20):
        digest.update(piece)
    return f"map-{VERSION}-{digest.hexdigest()}"


def describe_failures(outcome: Outcome, in_column: bool) -> str:
    """How many rows failed, why, where to see them and what to do. `in_column`: the table has the
    reasons."""
    job, failures, total = outcome.job, outcome.failures, len(outcome.outputs)
    counted = Counter(failures.values()).most_common()
    reasons = [f"{count:,} × {reason}" for reason, count in counted[:REASONS]]
    if len(counted) > REASONS:
        reasons.append("…")
    first = ", ".join(str(index) for index in sorted(failures)[:5])
    more = ", …" if len(failures) > 5 else ""
    said = (
        f"{len(failures):,} of {total:,} rows have no output (positions {first}{more}, counted "
        f"from 0): {'; '.join(reasons)}. See {job['links']['page']}"
    )
    said += "." if in_column else ", or give error= to have the reasons in a column."
    if outcome.ran:
        said += (
            f" promptmill.Client().retry({job['id']!r}) runs again what failed; the same call then "
            "takes the new outputs."
        )
    if job["status"] != "completed":
        said += f" promptmill.Client().delete({job['id']!r}) lets the same call begin anew."
    return said


def _output(row: Row) -> str | list[str]:
    texts = [output["text"] for output in row["outputs"]]
    return texts[0] if len(texts) == 1 else texts


def _reason(row: Row) -> str:
    """Why a row has no output, without its place: equal reasons are counted together."""
    return PLACE.sub("", row["error"]["message"], count=1) if row["error"] else row["status"]


def _retries(job: Mapping[str, Any]) -> list[str]:
    """The jobs that run again what failed of this one."""
    last = [job["retried_by"]] if job.get("retried_by") else []
    return [retry if isinstance(retry, str) else retry["id"] for retry in job.get("retries", last)]


def _merged(job: Mapping[str, Any]) -> dict[str, str]:
    return {"merge": "retries"} if _retries(job) else {}
