"""Rows of the hundred schemas, mixed with free ones, and what is wrong with the texts they get.

`make schemas` runs a thousand on a real model; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema_rs

from common.generation import Finished, Request
from common.params import SamplingParams
from common.settings import Settings
from common.structured.grammar import grammar_of
from tests.support.schemas import SCHEMAS

SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.0},
    {"temperature": 2.5, "top_p": 0.95},
    {"temperature": 1.0, "top_k": 30, "repetition_penalty": 1.2},
    {"temperature": 1.0, "logprobs": 1},
]
CUT_OFF = "cut off"


def schema_rows(rows: int, prompts: list[list[int]], max_tokens: int) -> list[Request]:
    """Rows of the schemas in turn, each sixth of them without one."""
    found = []
    for n in range(rows):
        is_free = n % 6 == 5
        given = {"max_tokens": 40 if is_free else max_tokens, **SETTINGS[n % len(SETTINGS)]}
        if not is_free:
            given["output"] = {"json_schema": SCHEMAS[n % len(SCHEMAS)]}
        params = SamplingParams.model_validate(given)
        request = Request(str(n), "", prompts[n % len(prompts)], params, n)
        request.grammar = grammar_of(params.output) if params.output else None
        found.append(request)
    return found


def fault(request: Request, found: Finished) -> str | None:
    """What is wrong with a bound row: its error, `CUT_OFF`, or why its text is not valid."""
    if found.error:
        return ": ".join(found.error)
    output = found.outputs[0]
    if output.finish_reason == "length" and not output.json_valid:
        return CUT_OFF
    schema = SCHEMAS[int(request.id) % len(SCHEMAS)]
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    try:
        validator.validate(json.loads(output.text))
    except (ValueError, jsonschema_rs.ValidationError) as error:
        return f"{json.dumps(schema)} {output.text!r}: {error}"
    return None if output.json_valid else f"{output.text!r} is valid, and is not said to be"


def main() -> int:
    from worker.models import open_model

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=700)
    options = parser.parse_args()
    cache: Path = Settings.load().cache
    opened = open_model(options.model, cache=cache, device="cpu", context=1024, defaults=False)
    texts = (f"Here is example {n} of a record, as JSON:\n" for n in range(50))
    prompts = [opened.tokenizer.encode(text) for text in texts]
    requests = {each.id: each for each in schema_rows(options.rows, prompts, options.max_tokens)}
    opened.engine.start()
    began = time.monotonic()
    for request in requests.values():
        opened.engine.submit(request)
    kinds: Counter[str] = Counter()
    tokens = 0
    while kinds.total() < len(requests):
        for each in opened.engine.collect(1.0):
            tokens += each.completion_tokens
            request = requests[each.id]
            wrong = fault(request, each) if request.grammar else None
            if wrong not in (None, CUT_OFF):
                print(f"row {each.id}: {wrong}", flush=True)
            free = "free_failed" if each.error else "free"
            bound = {None: "valid", CUT_OFF: "cut_off"}.get(wrong, "wrong")
            kinds[bound if request.grammar else free] += 1
    took = time.monotonic() - began
    opened.engine.stop()
    line = {"rows": options.rows, **kinds, "tokens": tokens, "seconds": round(took, 1)}
    print(json.dumps(line))
    return 1 if kinds["wrong"] or kinds["free_failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
