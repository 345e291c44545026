"""Redis goes away in every way it can; all goes on by itself, and nobody alive is taken for
dead."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.lib.proxy import SCRIPT, Network
from tests.support.processes import ROOT
from tests.support.workers import Queue, Workers

# What `make outages` holds to 10 s on its own takes longer here: other tests share the processors.
LIMIT = 30.0  # seconds


def test_after_every_outage_all_is_well_again() -> None:
    command = [sys.executable, "-m", "bench.outages", "--black", "8", "--short", "2"]
    command += ["--limit", str(LIMIT)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert {"kill", "blackhole", "straggle", "full", "read_only"} <= set(answer["outages"])
    assert max(answer["outages"].values()) <= LIMIT
    assert [answer[kind] for kind in ("lost", "duplicated", "unexpected", "reaped")] == [0] * 4


def test_an_idle_worker_finds_back_from_a_black_hole_and_hears_of_work(
    redis_url: str, tmp_path: Path
) -> None:
    """Nothing runs that would notice: its connections were open and silent when they died."""
    network, url = Network(), urlsplit(redis_url)
    network.start()
    proxy = network.proxy(url.port or 0, SCRIPT)
    workers = Workers(
        url._replace(netloc=f":{url.password}@127.0.0.1:{proxy.port}").geturl(), tmp_path
    )
    try:
        workers.start()
        proxy.hold()
        time.sleep(8)
        proxy.resume()
        queue, back = Queue(redis_url), time.monotonic()
        job_id = queue.submit(1)
        queue.wait_status(job_id, "completed", LIMIT)
        print(f"{time.monotonic() - back:.1f} s")
    finally:
        workers.stop_all()
        network.stop()
