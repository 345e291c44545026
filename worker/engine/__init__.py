"""The engine: generates texts with a model; knows neither Redis nor Celery nor HTTP.

Import it before torch and before threads are started, because what it sets here is read only once.

OpenMP's threads spin for a millisecond before they sleep. A step has hundreds of parallel products,
and waking a thread takes as long as many of them. libgomp spins by default only while a process has
no more of its threads than cores; but each thread that ever computed keeps a team of them, and a
model is loaded on one thread and run on another.

glibc keeps freed memory. By default it returns large tensors to the system, and each new one costs
a page fault for every 4 KiB, which is a fifth of the time that drawing 32 rows takes. One arena is
enough, because other threads hold no large tensors.
"""

import ctypes
import os

os.environ.setdefault("OMP_WAIT_POLICY", "active")
os.environ.setdefault("GOMP_SPINCOUNT", "100000")  # about a millisecond; libgomp's own is three

_libc = ctypes.CDLL(None)
if hasattr(_libc, "mallopt"):  # only in glibc; variables that are set already take precedence
    for _name, _option, _value in (
        ("MALLOC_TRIM_THRESHOLD_", -1, 1 << 30),
        ("MALLOC_MMAP_THRESHOLD_", -3, 32 << 20),  # the largest value it takes
        ("MALLOC_ARENA_MAX", -8, 1),
    ):
        if _name not in os.environ:
            _libc.mallopt(_option, _value)
