"""Items with outputs and references, drawn at random, and their scores."""

from __future__ import annotations

import random
from collections.abc import Sequence

from evals.item import Item, Output
from evals.registry import METRICS
from evals.scorer import Scores, score_items
from evals.summary import Tally

WORDS = (
    *(
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "Mat",
        "and",
        "dog",
        "ran",
        "far",
        "away",
        "it's",
        "well-known",
    ),
    *(
        ".",
        ",",
        "12",
        "3.5",
        "1,000",
        "(so)",
        "U.S.",
        "...",
        '"said"',
        "&amp;",
        "e.g.,",
        "-3",
        "50%",
    ),
)
HAN = "客户写信说订单晚到了要求退款我们回复并且道歉明天会再发货，。3.5x"


def english(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


def chinese(draw: random.Random, most: int) -> str:
    return "".join(draw.choices(HAN, k=draw.randint(1, most)))


def corpus(seed: int, count: int, most: int = 14, references: int = 1) -> list[Item]:
    """One text in four is Chinese, one output in ten empty; `references` is how many an item has at
    most."""
    draw = random.Random(seed)
    items = []
    for _ in range(count):
        text = chinese if draw.random() < 0.25 else english
        theirs = tuple(text(draw, most) for _ in range(draw.randint(1, references)))
        ours = "" if draw.random() < 0.1 else text(draw, most)
        items.append(Item((Output(ours),), theirs))
    return items


def item(output: str, *references: str) -> Item:
    return Item((Output(output),), references)


def scores(items: Sequence[Item], *names: str, tokenizer: str = "13a") -> Scores:
    return score_items(items, [METRICS[name] for name in names], tokenizer)


def score(name: str, output: str, *references: str, tokenizer: str = "13a") -> float:
    """NaN if there is none."""
    found = scores([item(output, *references)], name, tokenizer=tokenizer)
    return float(found.values[name][0])


def tally(items: Sequence[Item], *names: str, tokenizer: str = "13a") -> Tally:
    metrics = [METRICS[name] for name in names]
    made = Tally(metrics, len(items))
    made.add(0, items, score_items(items, metrics, tokenizer))
    return made
