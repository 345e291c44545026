"""The C structures and functions of `source/kernels.cpp`, as ctypes calls them.

Each function stands with its result and its arguments; `library.py` sets them on the library.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

Signature = tuple[Any, list[Any]]  # the result's type, the arguments' types

Pointer = ctypes.c_void_p


class Linear(ctypes.Structure):
    """A packed layer: `Linear` of gemm.h."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("outs", ctypes.c_int32),
        ("ins", ctypes.c_int32),
        ("group", ctypes.c_int32),
        ("weights", Pointer),
        ("scales", Pointer),
        ("bias", Pointer),
    )


class Cache(ctypes.Structure):
    """A layer's keys and values: `Cache` of paging.h."""

    _fields_ = (("units", Pointer), ("heads", ctypes.c_int32), ("width", ctypes.c_int32))


class Rows(ctypes.Structure):
    """The rows of a step: `Rows` of paging.h. Its arrays are int32 and must be kept alive."""

    _fields_ = (
        ("count", ctypes.c_int32),
        ("starts", Pointer),
        ("firsts", Pointer),
        ("table", Pointer),
        ("table_width", ctypes.c_int32),
    )


class Reading(ctypes.Structure):
    """How a layer's queries read the cache: `Reading` of attention.h."""

    _fields_ = (
        ("scale", ctypes.c_float),
        ("window", ctypes.c_int32),
        ("query_heads", ctypes.c_int32),
    )


COUNTING: dict[str, Signature] = {
    "pm_calls": (ctypes.c_int64, []),
}

_rows_of = (Pointer, ctypes.c_int64)  # their memory, and the elements from one to the next

_shape = (ctypes.c_int64, ctypes.c_int64)  # outs, ins

PRODUCTS: dict[str, Signature] = {
    "pm_packed_bytes": (ctypes.c_int64, [ctypes.c_int32, *_shape]),
    "pm_pack_bf16": (None, [Pointer, Pointer, *_shape]),
    "pm_pack_int8": (None, [Pointer, Pointer, Pointer, *_shape]),
    "pm_linear": (
        ctypes.c_int32,
        [
            ctypes.POINTER(Linear),
            *_rows_of,  # rows
            ctypes.c_int64,  # how many
            *_rows_of,  # where to
            ctypes.c_int32,  # how they are written
        ],
    ),
}

ATTENTION: dict[str, Signature] = {
    "pm_plan_new": (Pointer, [ctypes.POINTER(Rows)]),
    "pm_plan_free": (None, [Pointer]),
    "pm_attend": (
        None,
        [
            ctypes.POINTER(Cache),
            ctypes.POINTER(Rows),
            Pointer,  # plan
            ctypes.POINTER(Reading),
            *_rows_of,  # queries
            *_rows_of,  # keys
            *_rows_of,  # values
            *_rows_of,  # out
        ],
    ),
}


class Norm(ctypes.Structure):
    """`Norm` of layer.h."""

    _fields_ = (("weight", Pointer), ("epsilon", ctypes.c_float))


class Layer(ctypes.Structure):
    """`Layer` of pass.h."""

    _fields_ = (
        ("before_attention", Norm),
        ("qkv", Linear),
        ("of_queries", Norm),
        ("of_keys", Norm),
        ("out", Linear),
        ("before_mlp", Norm),
        ("gate_up", Linear),
        ("down", Linear),
        ("reading", Reading),
    )


class Model(ctypes.Structure):
    """`Model` of pass.h."""

    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in (
                "count",
                "hidden",
                "inner",
                "width",
                "query_heads",
                "heads",
                "known",
                "vocabulary",
                "positions",
            )
        ),
        ("cosines", Pointer),
        ("sines", Pointer),
        ("embedding", Pointer),
        ("layers", Pointer),
        ("last", Norm),
        ("head", Linear),
        ("scratch", Pointer),
    )


class Step(ctypes.Structure):
    """`Step` of pass.h."""

    _fields_ = (
        ("tokens", ctypes.c_int64),
        ("ids", Pointer),
        ("positions", Pointer),
        ("rows", Rows),
        ("plan", Pointer),
        ("caches", Pointer),
        ("wanted", ctypes.c_int64),
        ("keep", Pointer),
    )


PASSES: dict[str, Signature] = {
    "pm_norm": (
        None,
        [Pointer, ctypes.c_int64, Pointer, ctypes.c_float, ctypes.c_int64, Pointer],
    ),
    "pm_scratch_new": (Pointer, []),
    "pm_scratch_free": (None, [Pointer]),
    "pm_pass": (
        ctypes.c_int32,
        [ctypes.POINTER(Model), ctypes.POINTER(Step), Pointer],
    ),
}

# `Likely` of draw.h.
LIKELY = np.dtype([("token", np.int64), ("logprob", np.float64)])

# `Draw` of draw.h.
DRAW = np.dtype(
    [
        ("logits", np.uintp),
        ("temperature", np.float64),
        ("top_p", np.float64),
        ("min_p", np.float64),
        ("typical_p", np.float64),
        ("top_k", np.int64),
        ("uniform", np.float64),
        ("repetition", np.float64),
        ("presence", np.float64),
        ("frequency", np.float64),
        ("bias", np.uintp),
        ("biases", np.int64),
        ("seen", np.uintp),
        ("sightings", np.int64),
        ("banned", np.uintp),
        ("bans", np.int64),
        ("allowed", np.uintp),
        ("alternatives", np.int64),
        ("likeliest", np.uintp),
        ("logprob", np.float64),
        ("token", np.int64),
        ("largest", np.float64),
        ("highest", np.float64),
    ]
)

DRAWING: dict[str, Signature] = {
    "pm_draw": (
        ctypes.c_int32,
        [
            Pointer,  # rows, of DRAW
            ctypes.c_int64,  # how many
            ctypes.c_int64,  # vocabulary
        ],
    ),
}

SIGNATURES: dict[str, Signature] = {
    **COUNTING,
    **PRODUCTS,
    **ATTENTION,
    **PASSES,
    **DRAWING,
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
