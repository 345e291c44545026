"""What one tenant's requests cost another tenant: `make stall`.

Real processes, the echo engine, and loopback. Each case is sent once, and four times at once, while
another tenant sends `GET /v1/jobs` again and again; with one and with two web processes. Hostile
cases must be answered with a 4xx, honest ones of the same size must be accepted. The last line is
JSON:

    cases          how many were run, each counted once for each way in which it was sent
    worst_wait_s   longest that the other tenant waited for an answer
    worst_rss_mb   most that the web tier's processes held together, less what they held before
    wrong          cases that were answered otherwise than they should be, and those whose wait or
                   memory exceeds the aim
    health_s       longest that the health check took beside 4,000 slow bodies of one address
    formats_p99_s  the 99th percentile of another tenant's chats beside one that submits the
                   most costly output formats
    chats_s        longest that another tenant's chat took beside 2,000 event streams of one tenant
    validating_s   how long another tenant's one-line batch took to be validated behind 60 batches
                   of one 13 MiB file
    delivery_s     how long another tenant's webhook took behind 200 to ports that never answer
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.lib.hostile_formats import FORMATS, chats_beside_formats, publish_card
from bench.lib.hostile_requests import CASES, Case, post
from bench.lib.hostile_templates import PREPARED
from bench.lib.machine import commit, device
from bench.lib.noisy_tenants import (
    chats_beside_streams,
    delivery_beside_silence,
    health_beside_slow_bodies,
    validating_beside_batches,
)
from bench.lib.other_tenant import waits
from bench.lib.stack import Stack, running_stack
from common.store.api_keys import ApiKeys

AIM_WAIT = 1.0  # seconds
AIM_MEMORY = 300.0  # megabytes
SETTLE = 1.0  # seconds before a case in which memory is measured as it stands


def run_case(stack: Stack, other: str, case: Case, body: bytes, times: int) -> dict[str, Any]:
    """What a case cost, sent so many times at once."""
    with stack.web_memory() as before:
        time.sleep(SETTLE)
    began = time.monotonic()
    with (
        waits(stack, other) as waited,
        stack.web_memory() as memory,
        ThreadPoolExecutor(times) as senders,
    ):
        statuses = list(
            senders.map(lambda _: post(stack.port, stack.key, case, body), range(times))
        )
    found: dict[str, Any] = {
        "case": case.name,
        "times": times,
        "statuses": statuses,
        "seconds": round(time.monotonic() - began, 1),
        "wait_s": round(max(waited), 2),
        "rss_mb": round((max(memory) - max(before)) / 1e6),
    }
    within = found["wait_s"] <= AIM_WAIT and found["rss_mb"] <= AIM_MEMORY
    found["right"] = within and all(map(case.answered_well, statuses))
    forget_jobs(stack)
    return found


def forget_jobs(stack: Stack) -> None:
    """Delete what honest cases left, so that it is no load on the next."""
    while jobs := stack.request("GET", "/v1/jobs?limit=100")[1]["data"]:
        for job in jobs:
            stack.delete(job["id"])


def run_cases(chosen: list[Case], processes: int) -> list[dict[str, Any]]:
    limits: dict[str, Any] = {
        "max_items": 200_000,
        "max_queued_items": 0,
        "max_queued_tokens": 0,
        "max_queued_bytes": 0,
    }
    found = []
    with running_stack(64, web_processes=processes, **limits) as stack:
        other = ApiKeys(stack.client).create_key("other", "other")
        publish_card(stack)
        for case in chosen:
            body = case.make()
            for times in (1, 4):
                found.append(run_case(stack, other, case, body, times))
                print(f"{processes} web process(es): {json.dumps(found[-1])}", flush=True)
    return found


def run_crowds(processes: int) -> dict[str, float]:
    found = {}
    for name, measure in {
        "health_s": health_beside_slow_bodies,
        "chats_s": chats_beside_streams,
        "formats_p99_s": chats_beside_formats,
        "validating_s": validating_beside_batches,
        "delivery_s": delivery_beside_silence,
    }.items():
        parts = ("serve", "worker", "webhooks")
        with running_stack(64, parts, web_processes=processes, webhook_allow="127.0.0.1") as stack:
            found[name] = round(
                measure(stack, ApiKeys(stack.client).create_key("other", "other")), 2
            )
        print(f"{processes} web process(es): {name} {found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument(
        "--only", nargs="*", default=[""], help="cases whose name contains one of these"
    )
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2], help="web processes; several runs"
    )
    parser.add_argument("--no-crowds", action="store_true", help="leave out the last five fields")
    arguments = parser.parse_args()
    everything = (*CASES, *PREPARED, *FORMATS)
    chosen = [case for case in everything if any(part in case.name for part in arguments.only)]
    cases = [found for processes in arguments.processes for found in run_cases(chosen, processes)]
    crowds: dict[str, float] = {}
    if not arguments.no_crowds:
        for processes in arguments.processes:
            for name, value in run_crowds(processes).items():
                crowds[name] = max(value, crowds.get(name, 0.0))
    told = {
        "bench": "stall",
        "cases": len(cases),
        "worst_wait_s": max(found["wait_s"] for found in cases),
        "worst_rss_mb": max(found["rss_mb"] for found in cases),
        "wrong": [f"{found['case']} x {found['times']}" for found in cases if not found["right"]],
        **crowds,
        "device": device(),
        "commit": commit(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
