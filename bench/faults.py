"""Checks that faults lose nothing and repeat nothing: `make faults`, `make faults-long`.

Runs a durable Valkey, the web tier, workers on the echo engine, a webhook worker and an evaluator
as real processes, each behind a proxy of its own to Redis. A load submits, cancels, polls, follows
events and receives webhooks, while a seeded schedule kills, freezes, drains and cuts off the
processes and loses answers on their way. Half of the jobs have references and are evaluated. A
ledger that shares no code with promptmill compares every promise with everything seen. The last
line is JSON:

    faults           how many of each kind were injected
    items            in jobs that were answered 202
    evaluations      that were compared with what they must be
    lost             items without a result, results that were seen and went away, skipped events,
                     jobs with references without an evaluation
    duplicated       results that differ from what was seen before, events sent twice, jobs,
                     evaluations or webhooks made twice
    unexpected       anything else that should not be: wrong texts, wrong scores, failed items, 5xx
                     other than 503, processes that crash
    reclaim_*_s      from the moment a worker was struck until it holds nothing any more. Where
                     Redis was away meanwhile, from its return; those count in the maximum only,
                     because its return renews every lease
    false_reclaims   leases that ran out although nothing had struck their worker; null in the
                     short run
    cancel_p99_s     from the call until the job holds no slot, after the last fault, under load

Exit status 1 when something was lost, duplicated or unexpected. `--calm SECONDS` injects nothing
and keeps every core busy instead: a lease that is lost then is lost because of the load alone.
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
from bench.lib.parts import lost_leases
from bench.lib.trial import Trial

SIZES = {
    "faults": int,
    "items": int,  # promised at least
    "seconds": float,  # in which the faults strike
    "cancels": int,  # measured
    "workers": int,
    "slots": int,  # of each worker
    "backlog": int,  # items promised and not yet seen to end, at most
}
SHORT = dict(zip(SIZES, (16, 1_000, 15.0, 6, 3, 16, 600), strict=True))
LONG = dict(zip(SIZES, (520, 100_000, 660.0, 100, 4, 48, 3_000), strict=True))
# Twenty minutes must fit the disk.
CALM = LONG | {"faults": 0, "items": 0, "seconds": 0.0, "slots": 8, "backlog": 500}


def run(options: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="promptmill-faults-")))
        trial = Trial(options.keep or folder, options, stack)
        trial.start()
        if options.calm:
            trial.calm()
        else:
            trial.inject()
        cancels = trial.cancel()
        trial.settle()
        trial.check()
        lost_alive = lost_leases(trial.parts) - trial.reclaims.struck
        reclaims = trial.reclaims.seconds
        return {
            "bench": "faults",
            "faults": dict(sorted(trial.injector.faults.items())),
            "items": trial.ledger.items,
            "evaluations": trial.ledger.judged.evaluations,
            **trial.ledger.counts,
            "reclaim_p50_s": percentile(reclaims, 50),
            "reclaim_p99_s": percentile(reclaims, 99),
            "reclaim_max_s": percentile(reclaims + trial.reclaims.seconds_after_redis, 100),
            "false_reclaims": None if options.short else len(lost_alive),
            "cancel_p99_s": percentile(cancels, 99),
            "commit": commit(),
        }


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest value that at least `percent` of them do not exceed; None of no values."""
    if not values:
        return None
    return round(sorted(values)[-(-len(values) * percent // 100) - 1], 3)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--long", action="store_true", help="520 faults over 100,000 items and more in 15 minutes"
    )
    parser.add_argument(
        "--calm", type=float, default=0.0, metavar="SECONDS", help="no faults, all cores busy"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--fsync",
        choices=("always", "everysec"),
        default="always",
        help="what is asked of the disk",
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to leave logs and data")
    for name, kind in SIZES.items():
        parser.add_argument(
            f"--{name}", type=kind, help=f"{SHORT[name]}, {LONG[name]} in the long run"
        )
    options = parser.parse_args(arguments)
    options.short = not options.long and not options.calm
    for name, value in (SHORT if options.short else CALM if options.calm else LONG).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parts are ended then, too
    answer = run(parse())
    print(json.dumps(answer))
    sys.exit(1 if any(answer[kind] for kind in ("lost", "duplicated", "unexpected")) else 0)


if __name__ == "__main__":
    main()
