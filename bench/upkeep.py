"""What a worker costs Redis, and how its memory grows: `make bench-upkeep`.

Real processes: a Valkey that syncs every write, one web process, one worker with 64 slots on the
echo engine; jobs of 10,000 prompts one after the other. The last line is JSON:

    round_trips_per_item      commands the worker sends, those of Celery, heartbeats and ticks
                              included; measured with a job of its own
    redis_us_per_item         the server's own processor time while the other jobs ran, per item
    heartbeat_us              the same for one heartbeat of a worker that holds 256 items; there is
                              one a second
    checkpoint_us             and for one checkpoint of 256 rows that grew by eight tokens each,
    checkpoint_bytes          of this size
    exchange_256_jobs_ms      and for an exchange of 256 results and 256 items where each is a job
                              of one item
    exchange_1000_tenants_ms  and where those jobs belong to 1,000 tenants
    rss_10k_mb, rss_100k_mb   what the worker held in memory after so many items
    rss_ratio                 of the two; at most 1.05 is required

Exit status 1 if the memory grew by more than that.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

import psutil
import redis

from bench.lib.exchanges import exchange_costs
from bench.lib.machine import commit, device
from bench.lib.stack import Stack, running_stack
from common.store import keys
from common.store.fleet import Fleet
from common.store.incarnation import Incarnation
from common.store.packing import pack

SLOTS = 64
JOB = 10_000  # items
HELD = 256  # items of the worker whose heartbeats and checkpoints are measured
TOKENS = 8  # a row gets further between two checkpoints
CALLS = 300
MOST_GROWTH = 1.05
LEASE = 60.0  # seconds


def submit(stack: Stack, items: int, model: str = "echo") -> str:
    prompts = [
        f"{number} is a prompt of some ten words or so, nothing more" for number in range(items)
    ]
    return stack.submit(
        json.dumps({"model": model, "prompts": prompts, "params": {"temperature": 0}}).encode()
    )


def server_time(client: redis.Redis) -> float:
    """Microseconds of processor time the server has used."""
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"]) * 1e6


def cost(client: redis.Redis, call: Callable[[], object]) -> float:
    """Microseconds of the server per call."""
    before = server_time(client)
    for _ in range(CALLS):
        call()
    return (server_time(client) - before) / CALLS


def memory(stack: Stack) -> float:
    """MB the worker's processes hold."""
    time.sleep(2.0)  # what a turn held is gone
    worker = psutil.Process(stack.pids()["worker"])
    return (
        sum(process.memory_info().rss for process in [worker, *worker.children(recursive=True)])
        / 1e6
    )


def holder(stack: Stack) -> Incarnation:
    """A worker of a model that nobody else serves, holding items."""
    card = (
        Fleet(stack.client)
        .model("echo")
        .model_copy(update={"id": "held", "digest": "held", "slots": HELD})
    )
    Fleet(stack.client).publish(card, b"")
    incarnation = Incarnation(stack.client, card, LEASE)
    incarnation.register({"host": "bench", "pid": "0", "started_at": "0"})
    submit(stack, HELD, "held")
    incarnation.exchange([], HELD)
    return incarnation


def run(jobs: int) -> dict[str, object]:
    with running_stack(SLOTS) as stack:
        stack.wait(submit(stack, JOB))
        first = memory(stack)
        with stack.worker_commands() as commands:
            stack.wait(submit(stack, JOB))
        before, items = server_time(stack.client), 0
        for number in range(2, jobs):
            job_id = submit(stack, JOB)
            stack.wait(job_id)
            stack.delete(job_id)
            items += JOB
            print(f"{(number + 1) * JOB} items", flush=True)
        per_item = (server_time(stack.client) - before) / items
        last = memory(stack)
        worker = holder(stack)
        heartbeat = cost(stack.client, worker.heartbeat)
        chance = random.Random(1)
        (job_id,) = {
            field.split()[0].decode() for field in stack.client.hkeys(keys.held(worker.id))
        }
        blob = {
            f"{job_id} {i}": [(100, [chance.randrange(49_152) for _ in range(TOKENS)])]
            for i in range(HELD)
        }
        first_time = [(job_id, i) for i in range(HELD)]
        worker.checkpoint(blob, whole=True, first=first_time)
        checkpoint = cost(stack.client, lambda: worker.checkpoint(blob, whole=False, first=[]))
        stack.delete(job_id)
    return {
        "bench": "upkeep",
        "round_trips_per_item": round(commands.total() / JOB, 3),
        "redis_us_per_item": round(per_item, 1),
        "heartbeat_us": round(heartbeat, 1),
        "checkpoint_us": round(checkpoint, 1),
        "checkpoint_bytes": len(pack(blob)),
        **exchange_costs(),
        "rss_10k_mb": round(first, 1),
        f"rss_{jobs * JOB // 1000}k_mb": round(last, 1),
        "rss_ratio": round(last / first, 3),
        "commit": commit(),
        "device": device(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10, help=f"of {JOB} items each, 3 at least")
    figures = run(parser.parse_args().jobs)
    print(json.dumps(figures))
    return 1 if float(str(figures["rss_ratio"])) > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
