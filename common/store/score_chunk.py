"""The scores of some of a job's items as they are stored: numbers and a score for each metric.

A chunk is JSON that says how many items and which metrics, a zero byte, and the numbers of all as
64-bit floats (little-endian), compressed. The scores stand before the numbers that they were made
of: who wants scores only expands no more than these. Knows no Redis and nothing of what metrics
mean.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

NUMBER = np.dtype("<f8")
BEGINNING = 4096  # bytes that have the head, and as a rule little else


@dataclass(frozen=True)
class ScoreChunk:
    """Of successive items. `numbers[metric]` is an array of items by the metric's columns,
    `scores[metric]` has a score of each; NaN where there is none. `failed` says which items have no
    output, `references` how many references that are not empty an item has, NaN where it has none
    at all."""

    numbers: Mapping[str, Floats]
    scores: Mapping[str, Floats]
    failed: npt.NDArray[np.bool_]
    references: Floats

    def __len__(self) -> int:
        return len(self.failed)


def pack_scores(chunk: ScoreChunk) -> bytes:
    widths = {name: found.shape[1] for name, found in chunk.numbers.items()}
    head = json.dumps({"items": len(chunk), "metrics": widths}).encode()
    parts = [chunk.failed, chunk.references]
    parts += [chunk.scores[name] for name in widths]
    parts += [chunk.numbers[name] for name in widths]
    body = b"".join(np.ascontiguousarray(part, NUMBER).tobytes() for part in parts)
    return zlib.compress(head + b"\0" + body, 1)


def unpack_scores(blob: bytes) -> ScoreChunk:
    """What `pack_scores` was given.

    Raises:
        ValueError, KeyError, zlib.error: it is something else.
    """
    head, _, body = zlib.decompress(blob).partition(b"\0")
    about = json.loads(head)
    count: int = about["items"]
    flat, at = np.frombuffer(body, NUMBER), 0

    def next_part(width: int) -> Floats:
        nonlocal at
        part = flat[at : at + count * width].reshape(count, width)
        at += count * width
        return part

    failed, references = next_part(1)[:, 0].astype(np.bool_), next_part(1)[:, 0]
    scores = {name: next_part(1)[:, 0] for name in about["metrics"]}
    numbers = {name: next_part(width) for name, width in about["metrics"].items()}
    return ScoreChunk(numbers, scores, failed, references)


def unpack_scores_only(blob: bytes, metric: str | None = None) -> dict[str, Floats]:
    """`scores` of what `pack_scores` was given, several times as fast as all of it; up to those of
    this metric, if it has them.

    Raises:
        ValueError, KeyError, zlib.error: it is something else.
    """
    expander = zlib.decompressobj()
    begin = expander.decompress(blob, BEGINNING)
    head, _, body = begin.partition(b"\0")
    about = json.loads(head)
    count: int = about["items"]
    names = list(about["metrics"])
    names = names[: names.index(metric) + 1] if metric in names else names
    missing = (2 + len(names)) * count * NUMBER.itemsize - len(body)
    while missing > 0:
        more = expander.decompress(expander.unconsumed_tail, missing)
        if not more:
            raise ValueError("the chunk ends before its scores do")
        body += more
        missing -= len(more)
    flat = np.frombuffer(body[: len(body) - len(body) % NUMBER.itemsize], NUMBER)
    return {
        name: flat[(2 + place) * count : (3 + place) * count] for place, name in enumerate(names)
    }
