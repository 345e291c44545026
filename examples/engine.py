"""The engine on its own, without queue or server: two prompts, each decoded its own way."""

import sys

from common.generation import Request
from common.params import SamplingParams
from worker.models import open_model

opened = open_model(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m")
asked = {
    "The capital of France is": SamplingParams(max_tokens=8, temperature=0.0),
    "Once upon a time": SamplingParams(
        max_tokens=24, temperature=0.8, top_p=0.9, n=2, stop=("\n",)
    ),
}
opened.engine.start()
for prompt, params in asked.items():
    opened.engine.submit(Request(prompt, prompt, opened.tokenizer.encode(prompt), params, seed=1))
while asked:
    for finished in opened.engine.collect(timeout=1.0):
        print(finished.id, [output.text for output in finished.outputs], sep=" -> ")
        del asked[finished.id]
