"""The parts on their own, for real deployments: `promptmill serve | worker | webhooks`."""

from __future__ import annotations

import os
import time
import warnings

import click

from cli.children import LOOK, Child, Children, end_on_signals, follow_parent
from cli.terminal import print_line
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
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Worker processes; one per visible GPU if not given.",
)
def worker(processes: int | None) -> None:
    """The generation workers: one process per visible GPU, or one on the CPU."""
    follow_parent()
    # A wrong one is told here in a sentence, where Celery would show a traceback.
    settings = Settings.load()
    if processes is None:
        from worker.gpu import visible_gpus

        processes = len(visible_gpus()) or 1
    if processes == 1:
        run_celery("worker.app", "worker")
    else:
        run_workers(processes, settings.grace + GRACE_MARGIN)


@click.command()
def webhooks() -> None:
    """The webhook worker: posts signed events to whoever a job named."""
    follow_parent()
    Settings.load()
    run_celery("worker.webhooks", "webhooks")


def run_celery(app: str, name: str) -> None:
    """`celery -A APP worker` in this process; ends it with Celery's exit code."""
    from celery.bin.celery import celery
    from celery.platforms import SecurityWarning

    # Its warning about root is about pickled messages; ours are JSON, and nothing else is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    # Workers meet in the store, not with each other.
    alone = ["--without-gossip", "--without-mingle"]
    hostname = f"--hostname={name}-{os.getpid()}@%h"
    celery.main(
        ["-A", app, "--quiet", "worker", "--loglevel=INFO", hostname, *alone], prog_name="celery"
    )


def run_workers(count: int, limit: float) -> None:
    """Several workers as children, each restarted when it crashes. What they say goes to stderr."""
    env = dict(os.environ)
    children = [
        Child("worker", ["worker", "--processes=1"], env, limit=limit) for _ in range(count)
    ]
    parts = Children([children], lambda line: print_line(line, err=True))
    end_on_signals()
    try:
        parts.start()
        while True:
            time.sleep(LOOK)
            parts.tend()
    except KeyboardInterrupt:
        pass
    finally:
        parts.stop()
