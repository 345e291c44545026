"""A batch with the official client: OPENAI_BASE_URL=http://…/v1 OPENAI_API_KEY=pm_… python
openai_batch.py [model]

Uploads a file of requests, waits for the batch, and prints each answer under its own name.
"""

import json
import sys
import time

from openai import OpenAI

QUESTIONS = {"france": "What is the capital of France?", "italy": "What is the capital of Italy?"}

client = OpenAI()
model = sys.argv[1] if len(sys.argv) > 1 else client.models.list().data[0].id
lines = [
    {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 32,
        },
    }
    for name, question in QUESTIONS.items()
]
content = "\n".join(map(json.dumps, lines)).encode()
file = client.files.create(file=("questions.jsonl", content), purpose="batch")
batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
)

while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)

for problem in (batch.errors and batch.errors.data) or []:
    print(f"line {problem.line}: {problem.message}", file=sys.stderr)
if batch.error_file_id:
    print(client.files.content(batch.error_file_id).text, file=sys.stderr)
if batch.output_file_id:
    for row in map(json.loads, client.files.content(batch.output_file_id).text.splitlines()):
        print(
            row["custom_id"], row["response"]["body"]["choices"][0]["message"]["content"], sep="\t"
        )
sys.exit(0 if batch.status == "completed" and not batch.error_file_id else 1)
