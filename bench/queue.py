"""How fast the queue is, beside stock Celery: `make bench-queue`.

Echo engine without delay, real processes: one producer, one web process, one worker with 64 slots,
a Valkey that syncs every write. The last line is JSON:

    items_per_s               20,000 prompts of 250 characters in one request, from sending it until
                              the producer has fetched every result
    stock_celery_items_per_s  the same prompts as one Celery task each, from the first `delay` until
                              the producer has fetched every result; default settings, the better of
                              the threads and prefork pools
    ratio                     of the two
    upload_50k_s              a JSONL file of 50,000 lines and 20 MB, from sending it to the 202
    web_rss_mb                most that all processes of the web tier held during that upload
    submit_p99_ms             `POST /v1/jobs` with one prompt, one at a time over one connection,
                              the machine idle
    ring_to_step_ms           from the job's created_at (the attach; the ring goes out right after
                              it) to its finished_at (the exchange that brings the result), both by
                              the Redis server's clock, for a job of one prompt on an idle worker:
                              an upper bound of the time from ring to first step, which it includes
    round_trips_per_item      commands the worker process sends to Redis for the 20,000 prompts, per
                              item, those of Celery, heartbeats and ticks included; counted in a run
                              of its own, because counting slows it down
    scripts_per_chat_32       scripts the server runs for a chat beside 32 busy workers; measured
                              once, on a server of its own

Figures are medians over the rounds (ring_to_step_ms: of all jobs); ours and stock Celery take turns
in each round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict

from bench.lib import stock_celery
from bench.lib.machine import commit, device
from bench.lib.scripts_per_chat import scripts_per_chat
from bench.lib.stack import Stack, running_stack

SLOTS = 64
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "boil",
    "jelly",
)
GREEDY = {"temperature": 0}
BOUNDARY = "promptmill-bench"

Figures = defaultdict[str, list[float]]


def prompt(number: int, size: int) -> str:
    """A text of `size` characters that no other number has."""
    words = [str(number)] + [WORDS[(number + i) % len(WORDS)] for i in range(size // 3)]
    return " ".join(words)[:size].ljust(size, "x")


def run_batch(stack: Stack, prompts: list[str], figures: Figures) -> None:
    """items_per_s."""
    body = json.dumps({"model": "echo", "prompts": prompts, "params": GREEDY}).encode()
    begun = time.monotonic()
    job_id = stack.submit(body)
    figures["accepted_s"].append(time.monotonic() - begun)
    stack.wait(job_id)
    figures["done_s"].append(time.monotonic() - begun)
    if stack.results(job_id) != len(prompts):
        raise RuntimeError("results are missing")
    figures["items_per_s"].append(len(prompts) / (time.monotonic() - begun))
    stack.delete(job_id)


def count_commands(stack: Stack, prompts: list[str], figures: Figures) -> None:
    """round_trips_per_item."""
    with stack.worker_commands() as commands:
        stack.wait(
            stack.submit(
                json.dumps({"model": "echo", "prompts": prompts, "params": GREEDY}).encode()
            )
        )
    print("commands of the worker:", dict(commands))
    figures["round_trips_per_item"].append(commands.total() / len(prompts))


def run_upload(stack: Stack, lines: int, size: int, figures: Figures) -> None:
    """upload_50k_s and web_rss_mb. The job is deleted at once: only its way in is measured."""
    empty = len(json.dumps({"prompt": ""})) + 1
    file = "".join(
        json.dumps({"prompt": prompt(i, size // lines - empty)}) + "\n" for i in range(lines)
    )
    parts = [
        (f'name="job"\r\nContent-Type: application/json\r\n\r\n{json.dumps({"model": "echo"})}'),
        (f'name="file"; filename="prompts.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n{file}'),
    ]
    body = "".join(f"--{BOUNDARY}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    encoded = f"{body}--{BOUNDARY}--\r\n".encode()
    with stack.web_memory() as samples:
        begun = time.monotonic()
        job_id = stack.submit(encoded, f"multipart/form-data; boundary={BOUNDARY}")
        figures["upload_50k_s"].append(time.monotonic() - begun)
    figures["web_rss_mb"].append(max(samples) / 1e6)
    stack.delete(job_id)
    time.sleep(2.0)  # what the worker had taken ends, and the machine is idle again


def run_singles(stack: Stack, count: int, figures: Figures) -> None:
    """submit_p99_ms and ring_to_step_ms."""
    connection = stack.connect()
    seconds = []
    for number in range(count):
        body = json.dumps(
            {"model": "echo", "prompts": [prompt(number, 250)], "params": GREEDY}
        ).encode()
        begun = time.monotonic()
        job_id = stack.submit(body, connection=connection)
        seconds.append(time.monotonic() - begun)
        stack.wait(job_id)
        job = stack.store.job(job_id)
        figures["ring_to_step_ms"].append((job.finished_at or 0) - job.created_at)
        time.sleep(0.01)  # until the turn is over: the next ring finds an idle worker
    connection.close()
    figures["submit_p50_ms"].append(statistics.median(seconds) * 1000)
    figures["submit_p99_ms"].append(statistics.quantiles(seconds, n=100)[98] * 1000)


def run(items: int, rounds: int, singles: int) -> Figures:
    figures: Figures = defaultdict(list)
    pools = list(stock_celery.POOLS)
    prompts = [prompt(number, 250) for number in range(items)]
    with running_stack(SLOTS) as stack, stock_celery.running_server() as server:
        run_singles(stack, 20, defaultdict(list))  # warm up
        for number in range(1, rounds + 1):
            run_singles(stack, singles, figures)
            run_batch(stack, prompts, figures)
            count_commands(stack, prompts, figures)
            run_upload(stack, 50_000, 20_000_000, figures)
            for pool in pools:
                figures[f"stock_{pool}"].append(stock_celery.items_per_s(server, pool, prompts))
            # The better one runs in every round.
            pools = [max(pools, key=lambda pool: figures[f"stock_{pool}"][-1])]
            print(
                f"round {number}:",
                {name: round(values[-1], 3) for name, values in figures.items()},
                flush=True,
            )
    figures["scripts_per_chat_32"].append(scripts_per_chat())
    return figures


def summary(figures: Figures) -> dict[str, object]:
    """The last line: exactly the keys that are promised."""
    median = {name: statistics.median(values) for name, values in figures.items()}
    pools = [figures[f"stock_{pool}"] for pool in stock_celery.POOLS]
    # The pool that ran in every round.
    rounds, first = max((len(runs), runs[0]) for runs in pools)
    celery = statistics.median(
        next(runs for runs in pools if (len(runs), runs[0]) == (rounds, first))
    )
    return {
        "bench": "queue",
        "items_per_s": round(median["items_per_s"]),
        "stock_celery_items_per_s": round(celery),
        "ratio": round(median["items_per_s"] / celery, 2),
        "upload_50k_s": round(median["upload_50k_s"], 2),
        "web_rss_mb": round(max(figures["web_rss_mb"]), 1),
        "submit_p99_ms": round(median["submit_p99_ms"], 1),
        "ring_to_step_ms": round(median["ring_to_step_ms"], 1),
        "round_trips_per_item": round(median["round_trips_per_item"], 3),
        "scripts_per_chat_32": round(median["scripts_per_chat_32"], 1),
        "commit": commit(),
        "device": device(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=200, help="jobs of one prompt in each round")
    options = parser.parse_args()
    print(json.dumps(summary(run(options.items, options.rounds, options.singles))))


if __name__ == "__main__":
    main()
