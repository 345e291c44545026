"""What the loss of one worker costs the others: `make bench-losses`.

Real processes on the echo engine: a Valkey that syncs every write, and four workers whose items
take a second. Jobs of one item are submitted so that some always wait, and a chat every half
second. One worker is killed with all its slots taken; its items run again, a few at a time, on one
of the other three, while those go on. The last line is JSON:

    three_items_per_s   what the three workers finish once all that is over
    after_items_per_s   the least that they finish in any three seconds, from 10 s after the kill
                        until it is over, at least until 20 s after it
    share               of the two; at least 0.7 is required
    rerun_s             from the kill until all that the dead worker held is finished
    chat_p50_s          from a chat's submission to its result, once all is over
    chat_after_p50_s    the same from the kill until then

Exit status 1 if the share is less than required.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.lib.jobs import job_fields
from bench.lib.machine import commit, device
from bench.lib.parts import Part, Parts
from common.rings import RingSender
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore, new_job_id

STEP, TOKENS = 0.1, 10  # seconds, steps: an item takes a second
WORKERS = 4
BACKLOG = 1  # times the slots of all workers: what waits at least
CHAT_EVERY = 0.5  # seconds
CALM = 10.0  # seconds before the kill, and after all is over
# Seconds after the kill: a lease of five, a tick, and what held the worker that sees to suspects.
ASKED_AFTER = 10.0
WINDOW = 3.0  # seconds
ASKED = 0.7  # share
LOOK = 20.0  # seconds after the kill that are looked at at least
LIMIT = 120.0  # seconds for the workers to come up, or for what the dead one held to run again


class Flow:
    """Keeps jobs of one item waiting, sends chats, and knows from the server's clock when each
    ended."""

    def __init__(self, url: str, backlog: int):
        self.client = connect(url)
        self._store = JobStore(self.client)
        self._ring_sender = RingSender(url)
        self._backlog = backlog
        self._digest = Fleet(self.client).model("echo").digest
        self.chats: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        next_chat = time.monotonic()
        while not self._over.wait(0.05):
            waiting = int(self.client.hget("pm:queued", "items") or 0)
            for _ in range(self._backlog - waiting):
                self._submit(0)
            if time.monotonic() >= next_chat:
                self.chats.append(self._submit(1))
                next_chat = time.monotonic() + CHAT_EVERY

    def _submit(self, interactive: int) -> str:
        stage = self._store.stage()
        stage.add({"prompt": "a b c d e f g h i j", "params": {"ignore_eos": True}})
        stage.close_for_attach()
        spec = {"params": {"max_tokens": TOKENS, "temperature": 0.0}}
        about = {"cost": 20, "interactive": interactive}
        fields = job_fields("echo", self._digest, 1, spec, **about)
        made = self._store.attach(stage, fields, job_id=new_job_id())
        self._ring_sender.send("echo", made.rings)
        return made.job_id

    def now(self) -> int:
        return self._store.now()

    def held(self, incarnation: str) -> set[str]:
        """Jobs with an item that this worker holds."""
        return {slot.decode().split()[0] for slot in self.client.hkeys(f"pm:held:{incarnation}")}

    def is_over(self, job_id: str) -> bool:
        return bool(self.client.hget(f"pm:job:{job_id}", "status") == b"completed")

    def finished(self, begin: float, end: float) -> int:
        """Jobs that ended between two times of the server's clock, in ms."""
        return int(self.client.zcount("pm:finished", begin, end))

    def slowest(self, begin: float, end: float) -> float:
        """The least that was finished in any window between the two times, per second."""
        starts = range(int(begin), int(end - WINDOW * 1000) + 1, 500)
        return min(self.finished(start, start + WINDOW * 1000) for start in starts) / WINDOW

    def chat_p50(self, begin: float, end: float) -> float:
        """Seconds, of the chats that were submitted between the two times and have ended."""
        pipe = self.client.pipeline(transaction=False)
        for chat in self.chats:
            pipe.hmget(f"pm:job:{chat}", "created_at", "finished_at")
        times = [(int(made), int(done)) for made, done in pipe.execute() if made and done]
        return statistics.median(
            [(done - made) / 1000 for made, done in times if begin <= made < end]
        )


def wait_until(condition: Callable[[], object], seconds: float, why: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(why)
        time.sleep(0.05)


def run(slots: int) -> dict[str, object]:
    settings = {"ECHO_DELAY": str(STEP), "SLOTS": str(slots)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promptmill-losses-")))
        parts = Parts(folder, WORKERS, "always", settings)
        stack.callback(parts.stop)
        parts.start()
        wait_until(
            lambda: all(part.serving for part in parts.workers),
            LIMIT,
            "the workers did not come up",
        )
        flow = Flow(parts.server.url, BACKLOG * slots * WORKERS)
        stack.callback(flow.stop)
        flow.start()
        return {
            "bench": "losses",
            "workers": WORKERS,
            "slots": slots,
            **measure(flow, parts.workers[-1]),
        }


def measure(flow: Flow, part: Part) -> dict[str, object]:
    time.sleep(CALM)
    held, killed = flow.held(part.incarnation), flow.now()
    part.kill()
    print(f"killed a worker with {len(held)} items", flush=True)
    wait_until(lambda: all(map(flow.is_over, held)), LIMIT, "its items did not end")
    rerun = flow.now() - killed
    time.sleep(max(0.0, LOOK - rerun / 1000))
    over = flow.now()
    time.sleep(CALM)
    end = flow.now()
    for second in range((end - killed) // 1000):
        print(
            f"{second:3} s after the kill: "
            f"{flow.finished(killed + second * 1000, killed + second * 1000 + 999)} items"
        )
    three = flow.finished(over, end) * 1000 / (end - over)
    after = flow.slowest(killed + ASKED_AFTER * 1000, over)
    return {
        "three_items_per_s": round(three, 1),
        "after_items_per_s": round(after, 1),
        "share": round(after / three, 2),
        "rerun_s": round(rerun / 1000, 1),
        "chat_p50_s": round(flow.chat_p50(over, end), 2),
        "chat_after_p50_s": round(flow.chat_p50(killed, over), 2),
        "commit": commit(),
        "device": device(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, default=28, help="of each worker")
    options = parser.parse_args()
    found = run(options.slots)
    print(json.dumps(found))
    sys.exit(0 if float(str(found["share"])) >= ASKED else 1)


if __name__ == "__main__":
    main()
