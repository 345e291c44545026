"""The engine: generates texts with a model; knows neither Redis nor Celery nor HTTP.

Import it before torch, and before there are threads: what it sets here is read once.

OpenMP's threads wait for each other awake, for a millisecond: a step has hundreds of parallel
products, and waking a thread costs as much as many of them. libgomp does so by itself only while a
process has no more such threads than cores; but every thread that ever computed keeps a team of
them, and the one that loads a model is another than the one that runs it.

Memory once had is kept. glibc gives large tensors back to the system as they are freed, and every
new one costs a page fault for each 4 KiB: a fifth of the time that drawing 32 rows takes. One
arena, for those of other threads hold no large tensors.
"""

import ctypes
import os

os.environ.setdefault("OMP_WAIT_POLICY", "active")
os.environ.setdefault("GOMP_SPINCOUNT", "100000")  # about a millisecond; libgomp's own is three

_libc = ctypes.CDLL(None)
if hasattr(_libc, "mallopt"):  # glibc; what the environment sets stays
    for _name, _option, _value in (
        ("MALLOC_TRIM_THRESHOLD_", -1, 1 << 30),
        ("MALLOC_MMAP_THRESHOLD_", -3, 32 << 20),  # as much as it takes
        ("MALLOC_ARENA_MAX", -8, 1),
    ):
        if _name not in os.environ:
            _libc.mallopt(_option, _value)
