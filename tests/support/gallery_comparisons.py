"""What the gallery has of comparisons: jobs whose outputs were evaluated, compared by twos and by
fours, and one that nobody computes."""

from __future__ import annotations

import random
from collections.abc import Callable

import redis

from common.store.fleet import Fleet
from tests.support.cards import card
from tests.support.compared import compared, evaluate
from tests.support.web import Worker

JUDGED = card("summariser", context=8192)
METRICS = ("rouge_l", "chrf", "repetition", "length_chars")
ROWS = 40
REFERENCE = "The parcel came four days late, wet and empty, and nobody answered three letters."
CHINESE = "包裹晚到了四天，里面是空的，客户写了三封信都没有回复。"
PAGES = {
    "compare": "/compare?jobs={compared-0},{compared-1}",
    "compare-four": "/compare?jobs={compared-0},{compared-1},{compared-2},{compared-3}"
    "&filter=worse&metric=rouge_l",
    "compare-none": "/compare?jobs={compared-0},{compared-0}&filter=changed",
    "compare-running": "/compare?jobs={compared-1},{compared-2}",
    "compare-not-evaluated": "/compare?jobs={compared-0},{done}",
    "compare-form": "/compare",
}


def add_comparisons(client: redis.Redis, tenant: str, submit: Callable[..., str]) -> dict[str, str]:
    """The ids of the jobs, by name; `submit` makes a job of these fields."""
    Fleet(client).publish(JUDGED, b"")
    items = [
        {
            "prompt": f"Summarise complaint {row}: " + "the parcel came late and wet. " * 6,
            "custom_id": f"complaint-{row}",
            "reference": CHINESE if row % 3 == 2 else REFERENCE,
        }
        for row in range(ROWS)
    ]
    worker, ids = Worker(client, JUDGED), {}
    for number, kept in enumerate((0.7, 0.85, 0.7, 0.5)):
        name = f"compared-{number}"
        ids[name] = submit(
            model=JUDGED.id,
            items=items,
            evaluate=False,
            params={"temperature": number / 4, "stop": ["\n"] if number % 2 else None},
            metadata={"name": f"Complaints, prompt {number}"},
        )
        _run(worker, random.Random(number), kept, fails=number == 1)
        evaluate(client, ids[name], METRICS, tenant)
    worker.incarnation.release()
    jobs = list(ids.values())
    for each in (jobs[:2], jobs, [jobs[0]] * 2):
        compared(client, *each, tenant=tenant)
    return ids


def _run(worker: Worker, draw: random.Random, kept: float, *, fails: bool) -> None:
    """Outputs are the reference with some of its words, or letters, gone."""
    for row in range(ROWS):
        if fails and row % 17 == 4:
            worker.run(1, error="context_length_exceeded")
            continue
        parts = list(CHINESE) if row % 3 == 2 else REFERENCE.split(" ")
        said = [part for part in parts if draw.random() < kept]
        worker.say({"text": ("" if row % 3 == 2 else " ").join(said), "token_count": len(said)})
