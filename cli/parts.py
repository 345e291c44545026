"""The parts on their own, for real deployments: `promptmill serve | worker | webhooks`."""

from __future__ import annotations

import os

import click

from cli.children import LOOK, Child, Children, follow_parent, wait_for_signal
from common import log
from common.settings import Settings

GRACE_MARGIN = 15.0  # seconds on top of the grace period: handing back, leaving


@click.command()
def serve() -> None:
    """The web tier: form, APIs and pages."""
    follow_parent()
    settings = Settings.load()
    log.set_up(settings.log_format)
    from web.serve import serve as serve_web

    serve_web(settings)


@click.command()
@click.option("--processes", type=click.IntRange(1, 64), help="Worker processes; one per visible GPU if not given.")
def worker(processes: int | None) -> None:
    """The generation workers: one process per visible GPU, or one on the CPU."""
    follow_parent()
    if processes is None:
        from worker.gpu import visible_gpus

        processes = len(visible_gpus()) or 1
    if processes == 1:
        from worker.app import app

        run_celery(app, "worker")
    else:
        run_workers(processes, Settings.load().grace + GRACE_MARGIN)


@click.command()
def webhooks() -> None:
    """The webhook worker: posts signed events to whoever a job named."""
    follow_parent()
    from worker.webhooks import app

    run_celery(app, "webhooks")


def run_celery(app, name: str) -> None:  # type: ignore[no-untyped-def]  # a Celery app, which is untyped
    # Gossip and mingle are for workers that count on each other; ours meet in the store only.
    alone = ["--without-gossip", "--without-mingle"]
    app.worker_main(["--quiet", "worker", "--loglevel=INFO", f"--hostname={name}-{os.getpid()}@%h", *alone])


def run_workers(count: int, limit: float) -> None:
    """Several workers as children, each restarted when it crashes. What they say goes to stderr."""
    env = dict(os.environ)
    children = [Child("worker", ["worker", "--processes=1"], env, limit=limit) for _ in range(count)]
    stopped = wait_for_signal()
    parts = Children(children, lambda line: click.echo(line, err=True))
    parts.start()
    while not stopped.wait(LOOK):
        parts.tend()
    parts.stop()
