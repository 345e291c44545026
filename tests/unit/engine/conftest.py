"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.engine.kernels.library import Library


@pytest.fixture(scope="session")
def library() -> Library:
    """The compiled kernels; a test that needs them is skipped where there are none."""
    from worker.engine.kernels.library import load

    found = load()
    if found is None:
        pytest.skip("there are no compiled kernels on this machine")
    return found


@pytest.fixture(scope="session")
def merging(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kernels with a fault: shared blocks are computed apart from a row's own, then merged."""
    from worker.engine.kernels.build import SOURCE
    from worker.engine.kernels.compiler import Compiler

    folder = tmp_path_factory.mktemp("merging")
    source = folder / "merging.cpp"
    source.write_text(f'#define MERGE_APART\n#include "{SOURCE / "kernels.cpp"}"\n')
    Compiler.find().compile(source, folder / "merging.so")
    return type(library)(folder / "merging.so", int8=False)
