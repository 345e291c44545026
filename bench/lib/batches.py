"""How long a large batch takes to be validated and queued: part of `make bench-openai`, or alone as
`python -m bench.lib.batches`.

    batch_50k_queued_s   50,000 chat requests of 250 characters, uploaded before: from `POST
                         /v1/batches` until the batch is in progress. One web process; a worker
                         takes the first items meanwhile
    web_rss_mb           most that all processes of the web tier held together during that
    other_p50_ms         `GET /v1/models` over one connection meanwhile: what other users wait
"""

from __future__ import annotations

import json
import statistics
import time

from bench.lib.machine import commit, device
from bench.lib.stack import Stack, running_stack

LINES = 50_000
ENDPOINT = "/v1/chat/completions"
BOUNDARY = "promptmill-bench"
LIMIT = 120.0  # seconds


def batch_queued(stack: Stack, lines: int = LINES) -> dict[str, float]:
    """The figures above; the batch is cancelled then."""
    file_id = _upload(stack, lines)
    connection, others = stack.connect(), []
    wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
    with stack.web_memory() as memory:
        began = time.monotonic()
        _, batch = stack.request("POST", "/v1/batches", json.dumps(wanted).encode())
        while batch["status"] == "validating":
            if time.monotonic() - began > LIMIT:
                raise RuntimeError(f"the batch is not validated within {LIMIT:.0f} s")
            asked = time.monotonic()
            stack.request("GET", "/v1/models", connection=connection)
            others.append(time.monotonic() - asked)
            time.sleep(0.05)
            _, batch = stack.request("GET", f"/v1/batches/{batch['id']}", connection=connection)
        took = time.monotonic() - began
    connection.close()
    if batch["status"] != "in_progress" or batch["request_counts"]["total"] != lines:
        raise RuntimeError(f"the batch came to be {batch}")
    stack.request("POST", f"/v1/batches/{batch['id']}/cancel")
    return {
        "batch_50k_queued_s": round(took, 2),
        "web_rss_mb": round(max(memory) / 2**20, 1),
        "other_p50_ms": round(statistics.median(others) * 1000, 1),
    }


def _upload(stack: Stack, lines: int) -> str:
    content = "\n".join(json.dumps(_line(number)) for number in range(lines))
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
        'filename="batch.jsonl"\r\n\r\n'
    )
    body = f"{head}{content}\r\n--{BOUNDARY}--\r\n".encode()
    status, answer = stack.request(
        "POST", "/v1/files", body, f"multipart/form-data; boundary={BOUNDARY}"
    )
    if status != 200:
        raise RuntimeError(f"the upload was answered {status}: {answer}")
    return str(answer["id"])


def _line(number: int) -> dict[str, object]:
    prompt = f"{number} {'all the king is horses and men ' * 8}"[:250]
    body = {"model": "echo", "messages": [{"role": "user", "content": prompt}], "max_tokens": 16}
    return {"custom_id": f"request-{number}", "method": "POST", "url": ENDPOINT, "body": body}


def main() -> None:
    with running_stack(64) as stack:
        print(
            json.dumps(
                {"bench": "batches", **batch_queued(stack), "commit": commit(), "device": device()}
            )
        )


if __name__ == "__main__":
    main()
