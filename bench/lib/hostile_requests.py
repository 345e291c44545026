"""Requests that once stalled the web tier or filled its memory, and honest ones of the same size:
cases of `make stall`.
"""

from __future__ import annotations

import gzip
import io
import json
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse

import pyarrow as pa
from pyarrow import parquet

BOUNDARY = "promptmill-stall"
PIECE = 1 << 16  # bytes sent at once
LIMIT = 180.0  # seconds that a request may take
JOBS, CHECK, CHATS, COMPLETIONS = (
    "/v1/jobs",
    "/v1/jobs/check",
    "/v1/chat/completions",
    "/v1/completions",
)


@dataclass(frozen=True)
class Case:
    """`make` builds the body. `honest` ones are accepted, others answered with a 4xx, or told to
    come again where they are `queued`; a check says what is wrong."""

    name: str
    path: str
    make: Callable[[], bytes]
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    honest: bool = False
    queued: bool = False

    def answered_well(self, status: int) -> bool:
        if self.queued and status == 503:
            return True
        return 200 <= status < 300 if self.honest or self.path == CHECK else 400 <= status < 500


def form(name: str, filename: str, content: bytes, **fields: str) -> bytes:
    """A multipart body of one file and fields."""
    head = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    head.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="{filename}"\r\n\r\n'
    )
    return "".join(head).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(filename: str, content: bytes) -> bytes:
    job = json.dumps({"model": "echo", "params": {"max_tokens": 1}})
    return form("file", filename, content, job=job)


def dictionary_parquet(columns: int) -> bytes:
    """256 rows that all point at one value of 5 MB, which a codec makes small."""
    value = pa.DictionaryArray.from_arrays(
        pa.array([0] * 256, pa.int32()), pa.array(["a" * 5_000_000])
    )
    names = ["prompt", "b", "c", "d"][:columns]
    file = io.BytesIO()
    parquet.write_table(
        pa.table([value] * columns, names), file, compression="zstd", use_dictionary=True
    )
    return file.getvalue()


def plain_parquet(rows: int) -> bytes:
    file = io.BytesIO()
    prompts = [f"{row} " + "some words of a prompt " * 18 for row in range(rows)]
    parquet.write_table(
        pa.table({"prompt": prompts}), file, compression="none", use_dictionary=False
    )
    return file.getvalue()


def repeated(start: str, piece: str, count: int, end: str) -> bytes:
    """JSON with `piece` so many times in a list or an object."""
    return (start + ",".join([piece] * count) + end).encode()


def unknown_keys(count: int) -> bytes:
    return ('{"prompts":["a"],' + ",".join(f'"k{key}":0' for key in range(count)) + "}").encode()


def honest_items() -> bytes:
    """15 MB of items of some words."""
    items = [{"prompt": f"{number}: tell me {'more ' * 25}"} for number in range(95_000)]
    return json.dumps({"model": "echo", "items": items, "params": {"max_tokens": 1}}).encode()


def honest_ids() -> bytes:
    """15 MB of token ids, a thousand an item."""
    items = [
        {"prompt_ids": [10_000 + (number + at) % 30_000 for at in range(1000)]}
        for number in range(2_000)
    ]
    return json.dumps({"model": "echo", "items": items, "params": {"max_tokens": 1}}).encode()


def honest_csv() -> bytes:
    """190 MB of long prompts."""
    rows = "".join(
        f'"{number} {"some words of a long prompt, " * 120}"\n' for number in range(54_000)
    )
    return upload("prompts.csv", f"prompt\n{rows}".encode())


def long_items() -> bytes:
    """15 MB of source code in 60 items, each far over the context."""
    code = "def f(x):\n    return {'a': [x], 'b': (1, 2)}\n" * 5_000
    return json.dumps({"model": "echo", "items": [{"prompt": code}] * 60}).encode()


def wide_text() -> bytes:
    """15 MB of letters and one emoji, which makes Python take four bytes for each letter."""
    return ('{"prompts":["\N{GRINNING FACE}' + "a" * 15_000_000 + '"]}').encode()


def chat(text: str) -> bytes:
    return json.dumps({"model": "echo", "messages": [{"role": "user", "content": text}]}).encode()


def bomb(size: int) -> bytes:
    """A JSON body that is ten thousand times as long when unpacked."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        file.write(b'{"prompts":["')
        for _ in range(size // 2**20):
            file.write(b"a" * 2**20)
        file.write(b'"]}')
    return packed.getvalue()


COMPLETION = '{"model":"echo","prompt":['
PART = f"--{BOUNDARY}\r\n".encode()
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
LINE = b"x" + b" " * 1_200_000 + b"\n"  # not blank, or it would be passed over

CASES = (
    Case(
        "parquet of one 5 MB value in 256 rows",
        JOBS,
        lambda: upload("a.parquet", dictionary_parquet(1)),
        MULTIPART,
    ),
    Case(
        "the same in four columns",
        JOBS,
        lambda: upload("a.parquet", dictionary_parquet(4)),
        MULTIPART,
    ),
    Case(
        "5 M empty messages",
        JOBS,
        lambda: repeated('{"items":[{"messages":[', "{}", 5_000_000, "]}]}"),
    ),
    Case(
        "5 M token ids below 0",
        JOBS,
        lambda: repeated('{"items":[{"prompt_ids":[', "-1", 5_000_000, "]}]}"),
    ),
    Case("1.3 M unknown keys", JOBS, lambda: unknown_keys(1_300_000)),
    Case("30 lines of 1.2 MB of spaces", CHECK, lambda: upload("a.txt", LINE * 30), MULTIPART),
    Case("a chat of 15 MB of spaces", CHATS, lambda: chat(" " * 15_000_000)),
    Case("a chat of 15 MB of words", CHATS, lambda: chat("ab " * 5_000_000)),
    Case(
        "180 MB in the form's text box",
        "/",
        lambda: form("file", "", b"", prompts="a b\n" * 45_000_000),
        MULTIPART,
    ),
    Case(
        "a CSV row of 38 M cells",
        JOBS,
        lambda: upload("a.csv", b"prompt\n" + b"," * 38_000_000),
        MULTIPART,
    ),
    Case(
        "a CSV header of 38 M cells",
        JOBS,
        lambda: upload("a.csv", b"," * 38_000_000 + b"\n"),
        MULTIPART,
    ),
    Case(
        "a completion of 8 M token ids",
        COMPLETIONS,
        lambda: repeated(COMPLETION, "1", 8_000_000, "]}"),
    ),
    Case(
        "completions of 2 M lists",
        COMPLETIONS,
        lambda: repeated(COMPLETION, "[1]", 4_000_000, "]}"),
    ),
    Case(
        "190 MB of a part's headers", JOBS, lambda: PART + b"X-A: " + b"a" * 190_000_000, MULTIPART
    ),
    Case(
        "190 MB of many headers of a part", JOBS, lambda: PART + b"X: a\r\n" * 31_000_000, MULTIPART
    ),
    Case(
        "15 MB of metadata",
        JOBS,
        lambda: repeated('{"prompts":["a"],"metadata":{"a":"', "a", 7_500_000, '"}}'),
    ),
    Case("60 items of 240 KB of code", CHECK, long_items),
    Case("15 MB of letters and an emoji", JOBS, wide_text),
    Case("15 MB of nested lists", JOBS, lambda: b"[" * 15_000_000),
    Case(
        "a number of 15 M digits",
        JOBS,
        lambda: b'{"prompts":["a"],"priority":' + b"1" * 15_000_000 + b"}",
    ),
    Case(
        "10 GB in 10 MB of gzip",
        JOBS,
        lambda: bomb(10_000 * 2**20),
        headers=("Content-Encoding: gzip",),
    ),
    Case("honest: 15 MB of items", JOBS, honest_items, honest=True),
    Case("honest: 15 MB of token ids", JOBS, honest_ids, honest=True),
    Case("honest: a CSV of 190 MB", JOBS, honest_csv, MULTIPART, honest=True),
    Case(
        "honest: Parquet of 90 MB",
        JOBS,
        lambda: upload("a.parquet", plain_parquet(200_000)),
        MULTIPART,
        honest=True,
    ),
)


def post(port: int, key: str, case: Case, body: bytes) -> int:
    """The status of the answer, which may come before all was sent; 0 if there is none."""
    head = [
        f"POST {case.path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {key}",
        "Connection: close",
        f"Content-Type: {case.media_type}",
        f"Content-Length: {len(body)}",
        *case.headers,
    ]
    deadline = time.monotonic() + LIMIT
    left = [memoryview("\r\n".join(head).encode() + b"\r\n\r\n"), memoryview(body)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.settimeout(LIMIT)
        try:
            while left and time.monotonic() < deadline:
                readable, writable, _ = select.select([connection], [connection], [], 1.0)
                if readable:
                    break
                if writable:
                    sent = connection.send(left[0][:PIECE])
                    left[0] = left[0][sent:]
                    if not left[0]:
                        left.pop(0)
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status
        except (OSError, ValueError):
            return 0
