"""The output file and the error file of a batch. They are not stored: each line is made of a result
of the batch's job when the file is read.

Every finished line of the input is in one of the two: requests with an answer in the output file,
all others in the error file. The files can be read while the batch runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal, NotRequired, TypedDict, cast

from common.cooperate import Steps, give_way
from common.errors import NotFound
from common.result_row import Row
from common.store.batches import Batch, job_of
from common.store.job import Job
from common.store.packing import json_line
from common.stored_item import StoredItem
from common.types import ENDS, ItemState
from web.openai.answer_options import CHAT, AnswerOptions, Endpoint
from web.openai.completion_schemas import ChatCompletion, Completion
from web.openai.errors import ErrorBody, error_body
from web.openai.field_filter import header_names
from web.openai.rendering import render_completion
from web.services.services import Services

Kind = Literal["output", "error"]
KINDS: tuple[Kind, ...] = ("output", "error")
BATCH = 64  # items read at once
REFUSED = 400  # the status that the endpoint would have answered
UNFINISHED: dict[str, tuple[str, str]] = {
    ItemState.EXPIRED: (
        "batch_expired",
        "the completion window ended before this request was done",
    ),
    ItemState.CANCELLED: (
        "batch_cancelled",
        "the batch was cancelled before this request was done",
    ),
}


def file_id(batch_id: str, kind: Kind) -> str:
    """`file-output-…` of `batch_…`."""
    return f"file-{kind}-{batch_id.removeprefix('batch_')}"


def batch_of(output: str) -> str:
    """`batch_…` of `file-output-…`."""
    return f"batch_{output.rpartition('-')[2]}"


@dataclass(frozen=True)
class OutputFile:
    """One of the two files of a batch, with at least one line. Times are in ms of the Redis
    server's clock."""

    batch: Batch
    job: Job
    kind: Kind

    @property
    def id(self) -> str:
        return file_id(self.batch.id, self.kind)

    @property
    def filename(self) -> str:
        return f"{self.batch.id}_{self.kind}.jsonl"

    @property
    def created_at(self) -> int:
        """The time of the batch: when the first line was added is not stored."""
        return self.batch.created_at

    @property
    def over(self) -> bool:
        """No line will be added."""
        return self.job.status.terminal

    @property
    def expires_at(self) -> int | None:
        """The end of the job's retention, or an earlier time that was requested; both counted from
        the end of the batch."""
        if not self.over or self.job.finished_at is None:
            return None
        own = self.batch.output_ttl
        kept = self.job.retention if own is None else min(self.job.retention, own)
        return self.job.finished_at + kept


def counts(job: Job) -> dict[Kind, int]:
    """The number of lines in each file by now."""
    return {"output": job.succeeded, "error": job.failed + job.expired + job.cancelled}


def output_files(services: Services, batch: Batch) -> list[OutputFile]:
    """The files of a batch that can be read now."""
    try:
        job = services.store.job(job_of(batch.id))
    except NotFound:
        return []
    found = [
        OutputFile(batch, job, kind)
        for kind in KINDS
        if counts(job)[kind] and not (batch.output_gone if kind == "output" else batch.error_gone)
    ]
    now = services.store.now()
    return [each for each in found if each.expires_at is None or each.expires_at > now]


def find_output(services: Services, wanted: str, tenant: str) -> OutputFile:
    """The file with this id. Raises `NotFound` if it is another tenant's, has no lines yet, was
    deleted or has expired."""
    for kind in KINDS:
        prefix = file_id("", kind)
        if wanted.startswith(prefix):
            batch = services.batches.get(batch_of(wanted), tenant)
            for found in output_files(services, batch):
                if found.kind == kind:
                    return found
    raise NotFound(f"no file {wanted[:80]!r}; it was never uploaded, has expired or was deleted")


def size(services: Services, file: OutputFile) -> int:
    """The bytes of a complete file; 0 while it grows."""
    if not file.over:
        return 0
    output = file.kind == "output"
    counted = file.batch.output_bytes if output else file.batch.error_bytes
    if counted is not None:
        return counted
    batch = measure(services, file.batch, file.job)
    return batch.sized_output if output else batch.sized_error


def measure(services: Services, batch: Batch, job: Job, seconds: float = math.inf) -> Batch:
    """Measure the bytes of the two files up to the first unfinished item, and store them with the
    batch, so that the next call continues there. Stops after so many `seconds`. Returns the batch
    with the new sizes."""
    sized = batch.sized
    sizes: dict[Kind, int] = {"output": batch.sized_output, "error": batch.sized_error}
    end = time.monotonic() + seconds
    for page in _pages(services, batch, job, sized):
        over = list(takewhile(lambda line: line is not None, page))
        for line in over:
            assert line
            sizes[line[0]] += len(line[1])
        sized += len(over)
        if len(over) < len(page) or time.monotonic() > end:
            break
    if sized == batch.sized:
        return batch
    output, error = sizes["output"], sizes["error"]
    services.batches.note(batch.id, sized=sized, sized_output=output, sized_error=error)
    return replace(batch, sized=sized, sized_output=output, sized_error=error)


def content(services: Services, file: OutputFile) -> Iterator[bytes]:
    """The file in pieces. If the job is deleted meanwhile, `NotFound` aborts the download, so that
    an incomplete file is not taken for the whole."""
    for page in _pages(services, file.batch, file.job, 0):
        if piece := b"".join(line[1] for line in page if line and line[0] == file.kind):
            yield piece


def _pages(
    services: Services, batch: Batch, job: Job, first: int
) -> Iterator[list[tuple[Kind, bytes] | None]]:
    """For each item from `first` on, its file and its line, or None if it is unfinished; a page at
    a time."""
    writer, steps = _LineWriter(services, batch, job), Steps()
    for at in range(first, job.total, BATCH):
        answers = services.store.answers(job.id, at, BATCH, job.spec)
        if len(answers) < min(BATCH, job.total - at):
            raise NotFound(f"{batch.id} was deleted while its results were read")
        lines: list[tuple[Kind, bytes] | None] = []
        for item, row in answers:
            lines.append(writer.write(item, row) if row["status"] in ENDS else None)
            steps.step()  # calls are read out of a long answer, which takes time
        yield lines
        give_way()


class LineError(TypedDict):
    code: str
    message: str


class LineResponse(TypedDict):
    status_code: int
    request_id: str
    body: ChatCompletion | Completion | ErrorBody
    ignored_params: NotRequired[list[str]]


class BatchOutputLine(TypedDict):
    """A line of an output file (with `response`) or of an error file (with either)."""

    id: str
    custom_id: str | None
    response: LineResponse | None
    error: LineError | None


class _LineWriter:
    """Writes items and their rows as lines of the two files."""

    def __init__(self, services: Services, batch: Batch, job: Job):
        self._services = services
        self._endpoint = cast("Endpoint", batch.endpoint)
        self._model = job.model
        self._created = job.created_at // 1000  # unix seconds
        self._name = batch.id.removeprefix("batch_")

    def write(self, item: StoredItem, row: Row) -> tuple[Kind, bytes]:
        kind: Kind = "output" if row["status"] == ItemState.SUCCEEDED else "error"
        return kind, json_line(self.line(item, row))

    def line(self, item: StoredItem, row: Row) -> BatchOutputLine:
        name = f"{self._name}_{row['index']}"
        line: BatchOutputLine = {
            "id": f"batch_req_{name}",
            "custom_id": row["custom_id"],
            "response": None,
            "error": None,
        }
        if row["status"] == ItemState.SUCCEEDED:
            response: LineResponse = {
                "status_code": 200,
                "request_id": f"req_{name}",
                "body": self._body(item, row, name),
            }
            line["response"] = response
            if ignored := self._own_options(item).get("ignored"):
                response["ignored_params"] = header_names(ignored)  # a file has no headers
        elif why := item.get("refused"):
            body = error_body(REFUSED, why["code"], why["message"], why.get("field"))
            line["response"] = {"status_code": REFUSED, "request_id": f"req_{name}", "body": body}
        elif row["status"] in UNFINISHED:
            code, message = UNFINISHED[row["status"]]
            line["error"] = {"code": code, "message": message}
        elif error := row["error"]:
            line["error"] = {"code": error["code"], "message": error["message"]}
        return line

    def _own_options(self, item: StoredItem) -> Any:
        """The answer options that `batch_input.py` kept with the item."""
        return item.get("ask", {})

    def _body(self, item: StoredItem, row: Row, name: str) -> ChatCompletion | Completion:
        usual = {"endpoint": self._endpoint, "model": self._model, "tools": item.get("tools")}
        fields: Any = {**usual, **self._own_options(item)}
        options = AnswerOptions(**fields)
        kind = "chatcmpl" if options.endpoint == CHAT else "cmpl"
        prompts = [self._prompt(item)] if options.echo else None
        return render_completion(
            options, [row], id_=f"{kind}-{name}", created=self._created, prompts=prompts
        )

    def _prompt(self, item: StoredItem) -> str:
        if "prompt" in item:
            return str(item["prompt"])
        tokenizer = self._services.models.choose(self._model).tokenizer
        return tokenizer.decode(item["prompt_ids"]) if tokenizer else ""
