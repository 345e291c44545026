"""A chat with the official client: OPENAI_BASE_URL=http://…/v1 OPENAI_API_KEY=pm_… python
openai_chat.py [model]

Each line of standard input is a turn; the answer is printed as it is generated.
"""

import sys

from openai import OpenAI

client = OpenAI()
model = sys.argv[1] if len(sys.argv) > 1 else client.models.list().data[0].id
messages = []
for line in sys.stdin:
    messages.append({"role": "user", "content": line.strip()})
    said = ""
    for chunk in client.chat.completions.create(
        model=model, messages=messages, max_tokens=64, stream=True
    ):
        piece = chunk.choices[0].delta.content or ""
        print(piece, end="", flush=True)
        said += piece
    print()
    messages.append({"role": "assistant", "content": said})
