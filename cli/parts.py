"""The parts as single commands, for deployments: `promptmill serve`, `worker`, `webhooks` and
`evaluator`."""

from __future__ import annotations

import os
import time
import warnings

import click

from cli.children import LOOK, Child, Children, end_on_signals, follow_parent
from cli.commands import Command
from cli.folder import DataFolder, data_option, join_server
from cli.terminal import print_line
from common import log
from common.settings import Settings

GRACE_MARGIN = 15.0  # seconds after the grace period, for handing back items and ending


@click.command(cls=Command)
@data_option
def serve(folder: DataFolder) -> None:
    """Run the web tier.

    It has the native API, OpenAI's API and the pages.
    """
    follow_parent()
    join_server(folder)
    settings = Settings.load()
    log.set_up(settings.log_format)
    from web.serve import serve as serve_web

    serve_web(settings)


@click.command(cls=Command)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Number of worker processes; if not given, as many as there are visible GPUs for.",
)
@data_option
def worker(processes: int | None, folder: DataFolder) -> None:
    """Run generation workers.

    One for each visible GPU, or for each group of GPUs that vLLM computes on together, or one on
    the CPU. They serve PROMPTMILL_MODEL from REDIS_URL. Beside a running `promptmill up` they need
    neither: its data folder says which server and model.
    """
    follow_parent()
    join_server(folder)
    # Checked here, because Celery would show a traceback for a wrong setting.
    settings = Settings.load()
    if processes is None:
        from worker.gpu import worker_count

        processes = worker_count(settings)
    if processes == 1:
        run_celery("worker.app", "worker")
    else:
        run_workers(processes, settings.grace + GRACE_MARGIN)


@click.command(cls=Command)
@data_option
def webhooks(folder: DataFolder) -> None:
    """Run the webhook worker.

    It posts signed events to the receivers that jobs and batches name.
    """
    follow_parent()
    join_server(folder)
    Settings.load()
    run_celery("worker.webhooks", "webhooks")


@click.command(cls=Command)
@data_option
def evaluator(folder: DataFolder) -> None:
    """Run the evaluator.

    It scores what jobs generated, and sums the scores up.
    """
    follow_parent()
    join_server(folder)
    Settings.load()
    run_celery("worker.evaluator", "evaluator")


def run_celery(app: str, name: str) -> None:
    """Run `celery -A APP worker` in this process, which ends with Celery's exit code."""
    from celery.bin.celery import celery
    from celery.platforms import SecurityWarning

    # Celery warns root users of pickled messages; only JSON is accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    # Workers do not need to know each other: the store knows them all.
    alone = ["--without-gossip", "--without-mingle"]
    hostname = f"--hostname={name}-{os.getpid()}@%h"
    celery.main(
        ["-A", app, "--quiet", "worker", "--loglevel=INFO", hostname, *alone], prog_name="celery"
    )


def run_workers(count: int, limit: float) -> None:
    """Run several workers as child processes that are restarted when they crash; their output goes
    to stderr."""
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
