"""What a large table costs: `make bench-tables`.

Tables of 100,000 rows and 40 columns, as CSV and as JSONL, are uploaded with a template that names
two of the columns; then all rows are run again, with another template. Real processes, the echo
engine and loopback, while another tenant sends `GET /v1/jobs` again and again. The last line is
JSON; each field is the worst of all cases:

    upload_mb     the size of an upload
    seconds       until a submit or rerun was answered
    rss_mb        most that the web tier's processes held together, less what they held before
    wait_s        longest that the other tenant waited for an answer
    idle_wait_s   the same before the requests: what the machine itself is busy with
    redis_ratio   bytes of the job's items in Redis by those of the upload, packed as files are kept
    wrong         cases that were not accepted, or exceed an aim: 300 MB, 1 s, 1.3
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.lib.hostile_requests import BOUNDARY
from bench.lib.machine import commit, device
from bench.lib.other_tenant import waits
from bench.lib.stack import Stack, running_stack
from common.store import keys
from common.store.api_keys import ApiKeys
from common.store.files import CHUNK

ROWS, COLUMNS = 100_000, 40
AIM_MEMORY, AIM_WAIT, AIM_REDIS = 300.0, 1.0, 1.3  # megabytes, seconds, a ratio
SETTLE = 5.0  # seconds before a case in which memory is measured as it stands
LIMIT = 900.0  # seconds that a request may take
PARTS = ("in", "side", "prep", "starts", "st", "needs")
WORDS = (
    *("the", "order", "was", "late", "and", "customer", "wrote", "again", "about", "refund", "of"),
    *("parcel", "that", "never", "came", "while", "invoice", "said", "paid", "in", "full", "on"),
    *("monday", "答案", "größe", "café", "naïve", "2024", "terms", "apply", "see", "page"),
)
JOB = {"template": {"prompt": "Summarise: {{c1}} ({{c2}})"}, "params": {"max_tokens": 1}}
RERUN = {"template": {"prompt": "Translate: {{c3}}"}, "params": {"temperature": 0.5}}


def rows(count: int) -> Iterator[list[str]]:
    """Rows of a table as shops and laboratories have them: an id, texts, numbers, flags, dates."""
    draw = random.Random(7)
    for i in range(count):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(3, 22))) for _ in range(COLUMNS // 2)]
        rest = COLUMNS - 1 - len(texts)
        numbers = [
            f"{draw.random() * 1000:.{place % 4}f}" if place % 3 else draw.choice(["yes", "no", ""])
            for place in range(rest)
        ]
        yield [f"{i:08d}", *texts, *numbers]


def write_csv(file: io.TextIOBase, count: int) -> None:
    writer = csv.writer(file)
    writer.writerow(f"c{place}" for place in range(COLUMNS))
    writer.writerows(rows(count))


def write_jsonl(file: io.TextIOBase, count: int) -> None:
    names = [f"c{place}" for place in range(COLUMNS)]
    for row in rows(count):
        line = {"custom_id": row[0], "vars": dict(zip(names, row, strict=True))}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


FORMS: dict[str, Callable[[io.TextIOBase, int], None]] = {"csv": write_csv, "jsonl": write_jsonl}


def packed(path: Path) -> int:
    """Bytes of a file as the store keeps files."""
    with path.open("rb") as file:
        return sum(len(zlib.compress(piece, 1)) for piece in iter(lambda: file.read(CHUNK), b""))


def post_file(stack: Stack, path: Path, job: dict[str, Any]) -> tuple[int, Any]:
    """Upload a file from disk, a piece at a time."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="job"\r\n\r\n{json.dumps(job)}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"'
        "\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=LIMIT)
    connection.putrequest("POST", "/v1/jobs")
    connection.putheader("Authorization", f"Bearer {stack.key}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + path.stat().st_size + len(tail)))
    connection.endheaders(head)
    with path.open("rb") as file:
        while piece := file.read(1 << 16):
            connection.send(piece)
    connection.send(tail)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def post_rerun(stack: Stack, job_id: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=LIMIT)
    path = f"/v1/jobs/{job_id}/rerun"
    return stack.request("POST", path, json.dumps(RERUN).encode(), connection=connection)


def measured(
    stack: Stack, other: str, name: str, size: int, send: Callable[[], tuple[int, Any]]
) -> tuple[dict[str, Any], str]:
    """What a request cost that makes a job, and the job. `size` is that of the packed input."""
    with waits(stack, other) as idle, stack.web_memory() as before:
        time.sleep(SETTLE)
    began = time.monotonic()
    with waits(stack, other) as waited, stack.web_memory() as memory:
        status, answer = send()
    seconds = time.monotonic() - began
    if status != 202:
        raise RuntimeError(f"{name} was answered {status}: {str(answer)[:500]}")
    job_id = str(answer["id"])
    held = sum(stack.client.memory_usage(keys.job(job_id, part), samples=0) or 0 for part in PARTS)
    found = {
        "case": name,
        "rows": answer["counts"]["total"],
        "seconds": round(seconds, 1),
        "rss_mb": round((max(memory) - max(before)) / 1e6),
        "wait_s": round(max(waited), 2),
        "idle_wait_s": round(max(idle), 2),
        "redis_mb": round(held / 1e6, 1),
        "redis_ratio": round(held / size, 2),
    }
    print(json.dumps(found), flush=True)
    return found, job_id


def run_form(stack: Stack, other: str, form: str, count: int, folder: Path) -> list[dict[str, Any]]:
    path = folder / f"table.{form}"
    with path.open("w", encoding="utf-8", newline="") as file:
        FORMS[form](file, count)
    size = packed(path)
    upload, job_id = measured(stack, other, form, size, lambda: post_file(stack, path, JOB))
    upload["upload_mb"] = round(path.stat().st_size / 1e6, 1)
    rerun, again = measured(
        stack, other, f"{form}, run again", size, lambda: post_rerun(stack, job_id)
    )
    for made in (job_id, again):
        stack.delete(made)
    return [upload, rerun]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each table")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=[*FORMS])
    arguments = parser.parse_args()
    unlimited = ("max_queued_items", "max_queued_tokens", "max_queued_bytes", "max_stored_bytes")
    limits: dict[str, Any] = dict.fromkeys(unlimited, 0) | {"max_total_items": 0}
    cases: list[dict[str, Any]] = []
    with (
        running_stack(1, web_processes=1, **limits) as stack,
        tempfile.TemporaryDirectory(prefix="promptmill-tables-") as folder,
    ):
        other = ApiKeys(stack.client).create_key("other", "other")
        for form in arguments.forms:
            cases += run_form(stack, other, form, arguments.rows, Path(folder))
    aims = (("rss_mb", AIM_MEMORY), ("wait_s", AIM_WAIT), ("redis_ratio", AIM_REDIS))
    told = {
        "bench": "tables",
        "rows": arguments.rows,
        "columns": COLUMNS,
        "upload_mb": max(found.get("upload_mb", 0) for found in cases),
        "seconds": max(found["seconds"] for found in cases),
        **{name: max(found[name] for found in cases) for name, _ in (*aims, ("idle_wait_s", 0))},
        "wrong": [
            f"{found['case']}: {name} {found[name]}"
            for found in cases
            for name, aim in aims
            if found[name] > aim
        ],
        "device": device(),
        "commit": commit(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
