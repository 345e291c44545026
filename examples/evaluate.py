"""Summaries of 30 texts, English and Chinese, compared with summaries that people wrote: each
metric with its interval of 95 %, then the rows that fit their reference least.

PROMPTMILL_API_KEY=pm_… python examples/evaluate.py examples/evaluate.jsonl
"""

import json
import os
import sys
from pathlib import Path

import requests

url = os.environ.get("PROMPTMILL_URL", "http://127.0.0.1:8000").rstrip("/")
http = requests.Session()
http.headers["Authorization"] = f"Bearer {os.environ['PROMPTMILL_API_KEY']}"

# The preset has the instruction, and names the metrics; the column `text` goes into the first.
options = {"preset": "summarise", "columns": {"custom_id": "id", "reference": "summary"}}
with Path(sys.argv[1]).open("rb") as stream:
    parts = {"file": stream, "job": (None, json.dumps(options))}
    answer = http.post(f"{url}/v1/jobs", files=parts)
job = answer.json()
if not answer.ok:
    sys.exit(job["detail"])
while job["status"] in ("queued", "running"):
    job = http.get(job["links"]["self"], params={"wait": 30}).json()

# It began by itself when the job ended.
evaluation = http.get(job["links"]["evaluations"]).json()["data"][0]
while evaluation["status"] in ("queued", "running"):
    evaluation = http.get(evaluation["links"]["self"], params={"wait": 30}).json()
if evaluation["error"]:
    sys.exit(evaluation["error"]["message"])
for name, found in evaluation["summary"].items():
    between = f"{found['low']:.3f} to {found['high']:.3f}" if found["low"] is not None else ""
    print(name, f"{found['value']:.3f}", between, f"n={found['n']}", sep="\t")

with http.get(evaluation["links"]["results"]) as results:
    rows = [json.loads(line) for line in results.iter_lines()]
rows.sort(key=lambda row: row["scores"]["rouge_l"] or 0)
for row in rows[:3]:
    print("least:", row["custom_id"], row["reference"], sep="\t")
