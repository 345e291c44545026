"""Texts on standard input, a line each, sorted into labels: each comes back with the likeliest
label and its probability.

PROMPTMILL_API_KEY=pm_… python examples/classify.py praise complaint question < reviews.txt
"""

import os
import sys

import requests

url = os.environ.get("PROMPTMILL_URL", "http://127.0.0.1:8000").rstrip("/")
http = requests.Session()
http.headers["Authorization"] = f"Bearer {os.environ['PROMPTMILL_API_KEY']}"

texts, labels = [line.strip() for line in sys.stdin if line.strip()], sys.argv[1:]
asked = {
    "template": {"prompt": "Text: {{text}}\nThis is one of: {{labels}}.\nIt is:"},
    "items": [{"vars": {"text": text, "labels": ", ".join(labels)}} for text in texts],
    # A space in front, as the model would write it behind the colon.
    "params": {
        "temperature": 0,
        "output": {"choice": [f" {label}" for label in labels], "probabilities": True},
    },
}
answer = http.post(f"{url}/v1/jobs", json=asked)
job = answer.json()
if not answer.ok:
    sys.exit(job["detail"])
while job["status"] in ("queued", "running"):
    job = http.get(job["links"]["self"], params={"wait": 30}).json()

with http.get(job["links"]["items"], params={"limit": 1000}) as found:
    for row in found.json()["data"]:
        if row["error"]:
            sys.exit(row["error"]["message"])
        (output,) = row["outputs"]
        best = max(output["choices"], key=lambda choice: choice["probability"])
        text = row["vars"]["text"]
        print(best["text"].strip(), f"{best['probability']:.2f}", text, sep="\t")
