"""The rows of a comparison as they are kept: which items belong together, and how they differ."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

CHANGED, FAILED = 1, 2  # bits of `flags`


@dataclass(frozen=True)
class RowBlock:
    """Rows of neighbouring items of the baseline, `rows` of them, of `jobs` jobs.

    `places[row, job]` are the items' indices; `flags` say whether outputs differ from the
    baseline's (`CHANGED`) and whether an item of the row has no result (`FAILED`);
    `verdicts[row, metric, job - 1]` are 1 where the job does better than the baseline by a metric
    that has a better direction, -1 where it does worse, 0 for neither.
    """

    places: Array  # int32
    flags: Array  # uint8
    verdicts: Array  # int8


def pack_block(block: RowBlock) -> bytes:
    parts = (block.places.astype("<i4"), block.flags.astype("u1"), block.verdicts.astype("i1"))
    return zlib.compress(b"".join(part.tobytes() for part in parts), 1)


def parse_block(blob: bytes, jobs: int, metrics: Sequence[str]) -> RowBlock:
    """What `pack_block` made.

    Raises:
        ValueError, zlib.error: it is damaged.
    """
    raw = zlib.decompress(blob)
    verdicts = len(metrics) * (jobs - 1)
    rows, rest = divmod(len(raw), 4 * jobs + 1 + verdicts)
    if rest:
        raise ValueError("a block of rows has another size")
    places = np.frombuffer(raw, "<i4", rows * jobs).reshape(rows, jobs)
    flags = np.frombuffer(raw, "u1", rows, offset=places.nbytes)
    signs = np.frombuffer(raw, "i1", offset=places.nbytes + flags.nbytes)
    return RowBlock(places, flags, signs.reshape(rows, len(metrics), jobs - 1))
