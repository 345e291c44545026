"""The random numbers of draws: one for each seed, sequence and position, equal on every machine."""

from __future__ import annotations

import numpy as np


def uniforms(seeds: np.ndarray, sequences: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One number in (0, 1) for each (seed, sequence, position): float32 of 24 random bits.

    Made by integer arithmetic alone, so that it is equal on every machine, in every batch, before
    and after a resume. The arrays are broadcast against each other.
    """
    state = np.full(len(seeds), 0x9E3779B9, dtype=np.uint32)
    seeds = seeds.astype(np.uint64)
    words = (seeds & np.uint64(0xFFFFFFFF), seeds >> np.uint64(32), sequences, positions)
    with np.errstate(over="ignore"):
        for word in words:
            state = _stir(state ^ word.astype(np.uint32)) + np.uint32(0x9E3779B9)
        state = _stir(state)
    return ((state >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-24)


def _stir(x: np.ndarray) -> np.ndarray:
    """The 32-bit finaliser of MurmurHash3 (public domain), which mixes the bits."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x85EBCA6B)
    x = x ^ (x >> np.uint32(13))
    x = x * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
