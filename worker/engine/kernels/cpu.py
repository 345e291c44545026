"""Whether this CPU has the instructions that the compiled kernels are written in."""

from __future__ import annotations

import re
from pathlib import Path

from worker.engine.kernels.no_kernels import NoKernels

CPUINFO = Path("/proc/cpuinfo")
# Products of bfloat16 and of int8. Every CPU that has them has the other AVX-512 instructions that
# the sources use; a virtual machine may hide some, and then they are named here.
NEEDED = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni")


def check_cpu() -> None:
    """Check what the system says of the CPU.

    Raises:
        NoKernels: the CPU lacks instructions.
    """
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise NoKernels(f"there is no {CPUINFO} that says what the CPU can do") from None
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)  # ARM says `Features`
    has = set(flags[1].split()) if flags else set()
    missing = [name for name in NEEDED if name not in has]
    if missing:
        raise NoKernels(
            f"this CPU has no AVX512-BF16 and VNNI ({', '.join(missing)} missing), and the "
            "compiled kernels are written for no other"
        )
