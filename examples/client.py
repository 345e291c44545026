"""The native API over plain HTTP: submit a file, wait for the job's end, print what came of each
line.

PROMPTMILL_API_KEY=pm_… python examples/client.py prompts.jsonl
"""

import json
import os
import sys
from pathlib import Path

import requests

url = os.environ.get("PROMPTMILL_URL", "http://127.0.0.1:8000").rstrip("/")
http = requests.Session()
http.headers["Authorization"] = f"Bearer {os.environ['PROMPTMILL_API_KEY']}"

file = Path(sys.argv[1])
options = {"params": {"max_tokens": 50, "temperature": 0}}
# The same key again answers the same job: a submit whose answer was lost can be repeated.
headers = {"Idempotency-Key": f"{file.name}-{file.stat().st_mtime_ns}"}
with file.open("rb") as stream:
    answer = http.post(
        f"{url}/v1/jobs",
        files={"file": stream, "job": (None, json.dumps(options))},
        headers=headers,
    )
job = answer.json()
if not answer.ok:
    sys.exit(
        "\n".join(
            [
                job["detail"],
                *(f"line {error.get('line')}: {error['message']}" for error in job["errors"]),
            ]
        )
    )

while job["status"] in ("queued", "running"):
    job = http.get(job["links"]["self"], params={"wait": 30}).json()

with http.get(job["links"]["results"], stream=True) as results:
    for line in results.iter_lines():
        row = json.loads(line)
        print(
            row["custom_id"] or row["index"],
            row["outputs"][0]["text"] if row["outputs"] else row["error"],
            sep="\t",
        )
