"""How fast the OpenAI API is: `make bench-openai`.

Real processes: one web process and one worker, on the echo engine except for the last field, which
takes a real model (`--model`, by default the demo model). The last line is JSON:

    chat_per_s                 chat completions of ten words over 64 client connections, each of
                               which sends its next request when it has the answer
    first_token_overhead_ms    from sending a streaming request on an idle machine until its first
                               token arrives, less what the engine takes for a token (20 ms); median
    open_streams               streams open at once on the web process, each of which is sent a
                               token a second
    web_rss_mb                 most that all processes of the web tier held with them, resident
    batch_50k_queued_s         from creating a batch of 50,000 lines until it is queued
    chat_beside_prefill_steps  how much later a chat starts beside a batch of 4,000-token prompts
                               than alone, in steps of that batch; median
    prefill_step_s             how long such a step takes
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path

from bench.lib.batches import batch_queued
from bench.lib.connections import Connection, drive, request
from bench.lib.machine import commit, device
from bench.lib.stack import Stack, running_stack
from common.model_names import demo_folder
from common.settings import Settings

SLOTS = 64
DELAY = 0.02  # seconds a token takes the engine where the first one is timed
PATH = "/v1/chat/completions"


def chat(words: str, **fields: object) -> bytes:
    messages = [{"role": "user", "content": words}]
    return json.dumps({"model": "echo", "messages": messages, "temperature": 0, **fields}).encode()


def chats_per_s(stack: Stack, connections: int, total: int) -> float:
    """Whole answers."""
    asked = request(
        stack.port, stack.key, PATH, chat("one two three four five six seven eight nine ten")
    )
    left = total

    def step(connection: Connection) -> bool:
        nonlocal left
        if not connection.whole:
            return True
        if b"nine ten" not in connection.received:
            raise RuntimeError(f"a wrong answer: {connection.received[-500:]!r}")
        left -= 1
        if left < connections:  # the others have their last one under way
            return False
        connection.send(asked)
        return True

    opened = [Connection(stack.port) for _ in range(connections)]
    began = time.monotonic()
    for connection in opened:
        connection.send(asked)
    drive(opened, step, 120)
    seconds = time.monotonic() - began
    for connection in opened:
        connection.socket.close()
    return total / seconds


def first_tokens_ms(stack: Stack, count: int) -> list[float]:
    """Of streams one after another."""
    asked = request(stack.port, stack.key, PATH, chat("one two three", stream=True))
    connection = Connection(stack.port)
    found = []
    for _ in range(count):
        first: list[float] = []

        def step(connection: Connection, first: list[float] = first) -> bool:
            if not first and b'"content":"one"' in connection.received:
                first.append(time.monotonic() - connection.sent_at)
            return not connection.whole

        connection.send(asked)
        drive([connection], step, 30)
        found.append((first[0] - DELAY) * 1000)
        time.sleep(0.05)
    connection.socket.close()
    return found


def open_streams(stack: Stack, count: int) -> tuple[int, float]:
    """How many are open and told tokens at once, and the megabytes that takes."""
    asked = request(stack.port, stack.key, PATH, chat("word " * 120, stream=True, max_tokens=120))
    opened = []
    with stack.web_memory() as samples:
        for _ in range(count):
            opened.append(Connection(stack.port))
            opened[-1].send(asked)
        told: set[int] = set()

        def step(connection: Connection) -> bool:
            if connection.received.count(b'"content":') >= 4:  # the opening, and three tokens
                told.add(id(connection))
            return len(told) < count

        drive(opened, step, 100)
    for connection in opened:
        connection.socket.close()
    return len(told), max(samples) / 1e6


def first_token_s(stack: Stack, words: str) -> float:
    """Of one streamed chat."""
    connection = Connection(stack.port)
    first: list[float] = []

    def step(connection: Connection) -> bool:
        if not first and connection.received.count(b'"content":') >= 2:  # the opening, and a token
            first.append(time.monotonic() - connection.sent_at)
        return not connection.whole

    connection.send(
        request(
            stack.port, stack.key, PATH, chat(words, model=stack.model, stream=True, max_tokens=2)
        )
    )
    drive([connection], step, 120)
    connection.socket.close()
    return first[0]


def beside_prefill(stack: Stack, tokens_a_step: int = 1024) -> tuple[float, float]:
    """How many steps of a batch of 4,000-token prompts a chat starts later beside it; seconds of
    such a step."""

    def long_prompt() -> list[int]:  # no two alike
        return [random.randrange(1000, 40_000) for _ in range(4000)]

    def batch(count: int) -> str:
        items = [{"prompt_ids": long_prompt()} for _ in range(count)]
        job = {
            "model": stack.model,
            "items": items,
            "params": {"max_tokens": 1, "ignore_eos": True},
        }
        return stack.submit(json.dumps(job).encode())

    began = time.monotonic()
    stack.wait(batch(2))
    step = (time.monotonic() - began) / (8000 / tokens_a_step)
    alone = statistics.median(first_token_s(stack, f"How are you today? {n}") for n in range(5))
    job = batch(8)
    time.sleep(step)
    beside = statistics.median(
        first_token_s(stack, f"How are you this morning? {n}") for n in range(5)
    )
    _, left = stack.request("GET", f"/v1/jobs/{job}")
    if left["status"] not in ("queued", "running"):
        raise RuntimeError("the batch was over before the chats were")
    stack.request("POST", f"/v1/jobs/{job}/cancel")
    return (beside - alone) / step, step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chats", type=int, default=6000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument(
        "--model", type=Path, default=demo_folder(Settings.load().cache), help="for the last field"
    )
    options = parser.parse_args()
    with running_stack(SLOTS) as stack:
        chats_per_s(stack, SLOTS, 500)  # warm up
        rates = [chats_per_s(stack, SLOTS, options.chats // 3) for _ in range(3)]
        print("chats per second:", [round(rate) for rate in rates], flush=True)
    with running_stack(SLOTS, echo_delay=DELAY) as stack:
        first_tokens_ms(stack, 10)  # warm up
        firsts = first_tokens_ms(stack, 100)
        print(
            "first tokens, ms: p50, p90",
            [round(each, 1) for each in statistics.quantiles(firsts, n=10)[4::4]],
            flush=True,
        )
    with running_stack(SLOTS) as stack:
        queued = batch_queued(stack)
        print("batch:", queued, flush=True)
    with running_stack(options.streams * 9 // 8 + 8, echo_delay=1.0) as stack:
        streams, megabytes = open_streams(stack, options.streams)
    with running_stack(32, model=options.model) as stack:
        later, prefill_step = beside_prefill(stack)
    print(
        f"a chat beside 4,000-token prompts: {later:.2f} steps of {prefill_step:.2f} s later",
        flush=True,
    )
    found = {
        "bench": "openai",
        "chat_per_s": round(statistics.median(rates)),
        "first_token_overhead_ms": round(statistics.median(firsts), 1),
        "open_streams": streams,
        "web_rss_mb": round(megabytes, 1),
        "batch_50k_queued_s": queued["batch_50k_queued_s"],
        "chat_beside_prefill_steps": round(later, 2),
        "prefill_step_s": round(prefill_step, 2),
        "commit": commit(),
        "device": device(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
