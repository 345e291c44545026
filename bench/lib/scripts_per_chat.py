"""How many scripts the server runs for a chat when 32 workers are busy: `scripts_per_chat_32` of
`make bench-queue`.

The workers are real model servers with the echo engine and real heartbeats, all in this process.
Long items fill the slots that are not kept for chats, so that all workers are in the middle of a
turn; then chats of a few tokens are submitted one after the other. The server counts the scripts;
what the same workers run in the same time without chats is subtracted.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import redis

from bench.lib.jobs import job_fields
from cli.valkey import Valkey
from common.rings import RingSender
from common.settings import Settings
from common.store.connection import connect
from common.store.jobs import JobStore, new_job_id
from worker.heartbeat import Heartbeat
from worker.model_server import ModelServer
from worker.models import open_model

WORKERS = 32
SLOTS, KEPT = 8, 4
DELAY = 0.02  # seconds a token
LONG, CHAT = 8_000, 4  # tokens
CHATS = 200
PAUSE = 0.02  # seconds between two chats
LIMIT = 30.0  # seconds until all workers are busy, and until all chats are done


def submit(store: JobStore, items: int, tokens: int, *, interactive: bool = False) -> str:
    """A job of so many items of so many tokens each."""
    stage = store.stage()
    for _ in range(items):
        stage.add({"prompt": "one two three", "params": {"ignore_eos": True, "max_tokens": tokens}})
    stage.close()
    digest, spec = open_model("echo").card.digest, {"params": {"temperature": 0}}
    about = {"cost": tokens, "interactive": int(interactive)}
    fields = job_fields("echo", digest, items, spec, **about)
    return store.attach(stage, fields, job_id=new_job_id()).job_id


@contextmanager
def running_fleet(url: str, workers: int, slots: int, kept: int) -> Iterator[list[ModelServer]]:
    """So many workers of one model, each with a heartbeat that hears when it is woken. Nobody
    ticks."""
    settings, ring_sender = (
        Settings.load(redis_url=url, model="echo", interactive_slots=kept, grace=1),
        RingSender(url),
    )
    model_servers, beats = [], []
    for _ in range(workers):
        client = connect(url)
        model_server = ModelServer(
            client, settings, open_model("echo", slots=slots, echo_delay=DELAY), ring_sender
        )
        model_server.start()
        model_server.join()
        model_servers.append(model_server)
        beats.append(Heartbeat(client, [model_server], settings))
        beats[-1].start()
    try:
        yield model_servers
    finally:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(Heartbeat.stop, beats))
            list(pool.map(ModelServer.stop, model_servers))


def scripts(client: redis.Redis) -> int:
    """Scripts the server has run."""
    return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])


def wait_until_all(store: JobStore, job_ids: list[str], state: str) -> None:
    deadline = time.monotonic() + LIMIT
    for job_id in job_ids:
        while getattr(job := store.job(job_id), state) < job.total:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{job_id} has only {getattr(job, state)} of {job.total} items {state}"
                )
            time.sleep(0.02)


def scripts_per_chat() -> float:
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as folder:
        server = Valkey(Path(folder))
        client = connect(server.start())
        store = JobStore(client)
        try:
            with running_fleet(server.url, WORKERS, SLOTS, KEPT) as model_servers:
                long = submit(store, WORKERS * (SLOTS - KEPT), LONG)
                for model_server in model_servers:
                    threading.Thread(target=model_server.turn, daemon=True).start()
                wait_until_all(store, [long], "running")
                begun, before = time.monotonic(), scripts(client)
                chats = []
                for _ in range(CHATS):
                    chats.append(submit(store, 1, CHAT, interactive=True))
                    time.sleep(PAUSE)
                wait_until_all(store, chats, "succeeded")
                lasted, used = time.monotonic() - begun, scripts(client) - before
                time.sleep(lasted)
                return (used - (scripts(client) - before - used)) / CHATS
        finally:
            server.stop()
