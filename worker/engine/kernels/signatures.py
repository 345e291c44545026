"""The C structures and functions of `source/kernels.cpp`, as ctypes calls them.

Each function stands with its result and its arguments; `library.py` sets them on the library.
"""

from __future__ import annotations

import ctypes
from typing import Any

Signature = tuple[Any, list[Any]]  # the result's type, the arguments' types

COUNTING: dict[str, Signature] = {
    "pm_calls": (ctypes.c_int64, []),
}

SIGNATURES: dict[str, Signature] = {
    **COUNTING,
}


def declare(functions: ctypes.CDLL) -> None:
    """Set the types of every function's result and arguments.

    Raises:
        AttributeError: the library lacks a function.
    """
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(functions, name)
        function.restype = result
        function.argtypes = arguments
