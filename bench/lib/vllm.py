"""Runs vLLM in its own environment: what to load comes as a JSON line on stdin, then a mix of token
ids or of texts on each line. On stdout come the threads and cores that it has, then the seconds of
each mix.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever vLLM prints is no answer
    from vllm import LLM, SamplingParams  # not a dependency: only this environment has it

    job = json.loads(sys.stdin.readline())
    llm = LLM(
        job["model"],
        dtype=job["dtype"],
        enable_prefix_caching=job["prefix_caching"],
        max_model_len=2048,
        **({"max_num_seqs": job["slots"]} if job["slots"] else {}),
    )
    import torch

    cores = {"threads": torch.get_num_threads(), "cores": sorted(os.sched_getaffinity(0))}
    print(json.dumps(cores), file=answers)
    for mix in map(json.loads, sys.stdin):
        params = SamplingParams(
            temperature=0, max_tokens=mix["new_tokens"], ignore_eos=True, detokenize=True
        )
        if job["prefix_caching"]:
            llm.reset_prefix_cache()  # only what one run shares within itself counts
        began = time.perf_counter()
        prompts = [
            each if isinstance(each, str) else {"prompt_token_ids": each} for each in mix["prompts"]
        ]
        llm.generate(prompts, params, use_tqdm=False)
        print(time.perf_counter() - began, file=answers)


if __name__ == "__main__":
    main()
