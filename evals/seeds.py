"""Seeds of random numbers, from ids: the same evaluation draws the same numbers again."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator(*ids: str) -> np.random.Generator:
    """Random numbers that depend on these ids and nothing else."""
    digest = hashlib.sha256(json.dumps(ids).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
