"""Jobs with templates, cleaning and truncation that take the web tier as much time and memory as
they can, and honest ones of the same size: cases of `make stall`."""

from __future__ import annotations

import json
import random

from bench.lib.hostile_requests import CHECK, JOBS, MULTIPART, Case, form

PREVIEW = "/v1/jobs/preview?rows=20"
ALL_STEPS = ["encoding", "unicode", "html", "controls", "whitespace"]
TEMPLATE = {"prompt": "Summarise: {{text}}"}
MEGABYTE = 1_000_000


def job(texts: list[str], **fields: object) -> bytes:
    """A job of one-variable items."""
    items = [{"vars": {"text": text}} for text in texts]
    known = {"model": "echo", "params": {"max_tokens": 1}, "template": TEMPLATE}
    return json.dumps({**known, **fields, "items": items}, ensure_ascii=False).encode()


def mojibake() -> bytes:
    """5 MB of what takes longest to repair, in 10 items."""
    dice = random.Random(1)
    texts = ["".join(dice.choices("Ã\x83Â\x82 ", k=MEGABYTE // 4)) for _ in range(10)]
    return job(texts, clean=ALL_STEPS, truncate={"to": 100})


def long_texts() -> bytes:
    """15 MB of words in 16 items, each cut to what fits."""
    return job(["some more words " * (MEGABYTE // 17)] * 16, truncate={"to": "fit"})


def wide_rows(columns: int, rows: int) -> bytes:
    """A CSV of so many columns of a few words, all of them variables."""
    names = ["text", *(f"column {number}" for number in range(1, columns))]
    lines = [
        ",".join(
            f"{row} of column {number}, or {row % 7}".replace(",", "") for number in range(columns)
        )
        for row in range(rows)
    ]
    options = json.dumps({"model": "echo", "params": {"max_tokens": 1}, "template": TEMPLATE})
    table = "\n".join([",".join(names), *lines]).encode()
    return form("file", "wide.csv", table, job=options)


PREPARED = (
    Case("5 MB of mojibake to be repaired", CHECK, mojibake),
    Case(
        "15 MB of tags to be taken out",
        CHECK,
        lambda: job(["<b>&lt;</b " * (MEGABYTE // 11)] * 15, clean=ALL_STEPS),
    ),
    Case(
        "15 MB of marks to be normalized",
        CHECK,
        lambda: job(["\u0316\u0300" * (MEGABYTE // 4)] * 15, clean=["unicode"]),
    ),
    Case("15 MB of words to be cut", CHECK, long_texts),
    Case(
        "a template that names a text of 1 MB 9,000 times",
        JOBS,
        lambda: job(["ab " * (MEGABYTE // 3)] * 15, template={"prompt": "{{text}}" * 9_000}),
    ),
    Case(
        "a preview of the same, cut",
        PREVIEW,
        lambda: job(
            ["ab " * (MEGABYTE // 3)] * 15,
            template={"prompt": "{{text}}" * 1_000},
            truncate={"to": "fit"},
        ),
        honest=True,
    ),
    Case(
        "honest: a CSV of 100,000 rows and 40 columns",
        JOBS,
        lambda: wide_rows(40, 100_000),
        MULTIPART,
        honest=True,
    ),
)
