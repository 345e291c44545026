"""What judging a job costs: `make bench-evals`.

A job of 100,000 rows is scored in this process, a chunk of 64 rows at a time, with all metrics, and
summed up with intervals; then it is compared with another job. Three rows of four are English, with
outputs of 10 to 90 words; the others are Chinese; one in five has more than one reference. Then
single hostile rows: outputs of 1 MB against 16 references of 64 KiB. The last line is JSON:

    seconds      scoring and summing up 100,000 rows, without making them
    cpu_s        processor time of that
    intervals_s  of the seconds, those for the intervals
    compare_s    differences, intervals and p-values of two such jobs, all metrics together
    rss_mb       most that the process held until then
    hostile_s    the worst hostile row, all metrics together
    hostile_mb   most that the process held after the hostile rows
    wrong        aims that were missed: 90 s of processor time, 300 MB
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Iterator

from bench.lib.machine import commit, device
from evals.item import Item, Output
from evals.metric import Metric
from evals.paired import difference
from evals.registry import METRICS
from evals.scorer import score_items
from evals.summary import Tally

ROWS, CHUNK = 100_000, 64
AIM_SECONDS, AIM_MEMORY = 90.0, 300.0
WORDS = (
    *("the", "order", "was", "late", "and", "customer", "wrote", "again", "about", "refund", "of"),
    *("parcel", "that", "never", "came", "while", "invoice", "said", "paid", "in", "full", "on"),
    *("Monday", "größe", "café", "naïve", "2024", "terms", "apply,", "see", "page", "3.5.", "it's"),
)
CHARACTERS = (
    "客户写信说订单晚到了要求退款我们回复并且道歉明天会再发货，。的是在不了有和人这中大为上个国"
)


def text(draw: random.Random, chinese: bool) -> str:
    if chinese:
        return "".join(draw.choices(CHARACTERS, k=draw.randint(10, 120)))
    return " ".join(draw.choices(WORDS, k=draw.randint(10, 90)))


def edited(draw: random.Random, reference: str, chinese: bool) -> str:
    """A text that has parts of another."""
    cut = draw.randint(0, len(reference))
    return reference[:cut] + (text(draw, chinese)[: len(reference) - cut + 20])


def chunks(rows: int, seed: int) -> Iterator[list[Item]]:
    draw = random.Random(seed)
    for begin in range(0, rows, CHUNK):
        items = []
        for _ in range(min(CHUNK, rows - begin)):
            chinese = draw.random() < 0.25
            first = text(draw, chinese)
            count = draw.choice((0, 0, 0, 0, 2))
            references = (first, *(text(draw, chinese) for _ in range(count)))
            output = Output(edited(draw, first, chinese), 40, -60.0 * draw.random())
            items.append(Item((output,), references))
        yield items


class Clock:
    """Seconds and processor time of what ran within."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def scored(rows: int, seed: int, metrics: list[Metric], clock: Clock) -> Tally:
    """The tally of a job; the clock runs while it is scored, not while texts are made."""
    tally, first = Tally(metrics, rows), 0
    for items in chunks(rows, seed):
        with clock:
            tally.add(first, items, score_items(items, metrics, "13a"))
        first += len(items)
    return tally


def hostile() -> Iterator[tuple[str, Item]]:
    """Outputs of 1 MB, references of 64 KiB."""
    draw = random.Random(3)
    size, least = 1 << 20, 1 << 16

    def case(name: str, output: str, reference: str) -> tuple[str, Item]:
        references = tuple(f"{reference[: least - 3]} {place:02}" for place in range(16))
        return name, Item((Output(output[:size], 9, -1.0),), references)

    yield case("two words", "a b " * (size // 4), "b a a " * (least // 6))
    yield case("one letter", "x" * size, "x" * least)
    yield case("digits", "1" * size, "1" * least)
    yield case("commas", "1," * (size // 2), "1," * (least // 2))
    yield case("full stops", "." * size, ". " * least)
    alphabet = "abcdefghij "
    yield case(
        "random words",
        "".join(draw.choices(alphabet, k=size)),
        "".join(draw.choices(alphabet, k=least)),
    )
    numbers = [f"{draw.randrange(1 << 30)} " for _ in range(1 << 17)]
    yield case("different words", "".join(numbers), "".join(reversed(numbers[:9000])))
    letters = 3 * len(CHARACTERS)  # bytes
    yield case("Chinese", CHARACTERS * (size // letters), CHARACTERS[::-1] * (least // letters))
    yield case("brackets", "[" * size, "]" * least)
    yield case("entities", "&quot;" * (size // 6), "&amp;quot;" * (least // 10))


def held() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed_hostile(metrics: list[Metric]) -> dict[str, float]:
    found = {}
    for name, item in hostile():
        clock = Clock()
        with clock:
            score_items([item], metrics, "13a")
        found[name] = round(clock.seconds, 2)
    return found


def by_metric(metrics: list[Metric]) -> dict[str, float]:
    """Milliseconds of processor time for 1,000 rows, each metric by itself."""
    found = {}
    for metric in metrics:
        clock = Clock()
        scored(1000, 5, [metric], clock)
        found[metric.name] = round(clock.cpu * 1000, 1)
    return found


def compared(tally: Tally, other: Tally, metrics: list[Metric]) -> float:
    clock = Clock()
    with clock:
        for metric in metrics:
            numbers = tally.numbers(metric.name), other.numbers(metric.name)
            difference(metric, *numbers, ["job_a", "job_b"])
    return round(clock.seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the job")
    rows = parser.parse_args().rows
    metrics = list(METRICS.values())
    print(json.dumps({"cpu_ms_of_1000_rows": by_metric(metrics)}), flush=True)
    clock, intervals = Clock(), Clock()
    tally = scored(rows, 1, metrics, clock)
    with clock, intervals:
        for metric in metrics:
            tally.summary(metric.name, "eval_bench")
    memory = held()
    compare = compared(tally, scored(rows, 2, metrics, Clock()), metrics)
    worst = timed_hostile(metrics)
    print(json.dumps({"hostile_s": worst}), flush=True)
    aims = ((clock.cpu, AIM_SECONDS, "s"), (memory, AIM_MEMORY, "MB"))
    told = {
        "bench": "evals",
        "rows": rows,
        "seconds": round(clock.seconds, 1),
        "cpu_s": round(clock.cpu, 1),
        "intervals_s": round(intervals.seconds, 1),
        "compare_s": compare,
        "rss_mb": round(memory),
        "hostile_s": max(worst.values()),
        "hostile_mb": round(held()),
        "wrong": [f"{value:.0f} {unit}" for value, aim, unit in aims if value > aim],
        "device": device(),
        "commit": commit(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
