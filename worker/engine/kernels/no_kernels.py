"""Why torch computes in place of the compiled kernels."""

from __future__ import annotations


class NoKernels(Exception):
    """There are no compiled kernels here: `why`, and what gets them (`fix`; "" if nothing does)."""

    def __init__(self, why: str, fix: str = ""):
        super().__init__(f"{why}; {fix}" if fix else why)
        self.why = why
        self.fix = fix
