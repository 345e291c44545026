"""Checks that every worker drains in time in rolling restarts under load, and that no work is lost:
`make restarts`.

The processes, load and ledger of `bench.faults`. A restart sends one worker after the other SIGTERM
and waits until its successor serves. The last line is JSON: `restarts` of all workers; `drains`, of
which `within_grace` ended within `grace_s` of the signal; `drain_max_s`; `items`, `lost`,
`duplicated`, `unexpected` as in `bench.faults`; `charged` items were begun anew by another worker,
which a drain must never cause. Exit status 1 unless all is well.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.lib.machine import commit
from bench.lib.parts import Part
from bench.lib.trial import GRACE, Trial

LIMIT = 60.0  # seconds a worker may take to be back


def restart(trial: Trial, worker: Part) -> None:
    before = worker.incarnation
    worker.drain()
    trial.injector.run(LIMIT, lambda: trial.tell() and worker.incarnation in ("", before))


def run(options: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="promptmill-restarts-"))
        )
        trial = Trial(options.keep or folder, options, stack)
        trial.start()
        for _ in range(options.restarts):
            for worker in trial.parts.workers:
                restart(trial, worker)
        trial.settle()
        trial.check()
        drains = trial.injector.drains
        return {
            "bench": "restarts",
            "restarts": options.restarts,
            "drains": len(drains),
            "within_grace": sum(seconds <= GRACE for seconds in drains),
            "grace_s": GRACE,
            "drain_max_s": round(max(drains), 2),
            "items": trial.ledger.items,
            **trial.ledger.counts,
            "charged": trial.ledger.charged,
            "commit": commit(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and data")
    options = parser.parse_args(None, argparse.Namespace(slots=16, backlog=600, fsync="always"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parts are ended then, too
    answer = run(options)
    print(json.dumps(answer))
    wrong = any(answer[kind] for kind in ("lost", "duplicated", "unexpected", "charged"))
    drained = answer["within_grace"] == answer["drains"] == options.restarts * options.workers
    sys.exit(1 if wrong or not drained else 0)


if __name__ == "__main__":
    main()
