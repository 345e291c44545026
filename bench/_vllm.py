"""Runs mixes on vLLM, in its own environment: a job as JSON on stdin, the seconds of each run as JSON on stdout."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    from vllm import LLM, SamplingParams  # not a dependency: only this environment has it

    job = json.load(sys.stdin)
    llm = LLM(job["model"], dtype="bfloat16", enable_prefix_caching=job["prefix_caching"], max_model_len=2048)
    found: dict[str, list[float]] = {name: [] for name in job["mixes"]}
    for repeat in range(job["repeats"] + 1):  # the first one warms up
        for name, mix in job["mixes"].items():
            params = SamplingParams(temperature=0, max_tokens=mix["new_tokens"], ignore_eos=True, detokenize=True)
            if job["prefix_caching"]:
                llm.reset_prefix_cache()  # only what one run shares within itself counts
            began = time.perf_counter()
            llm.generate([{"prompt_token_ids": ids} for ids in mix["prompts"]], params, use_tqdm=False)
            if repeat:
                found[name].append(time.perf_counter() - began)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
