"""The order of the tests' files, and which of them one process takes when several run at once.

Files that take longest come first, so that no process is left alone with one at the end.
"""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parents[1]
LONGEST = (  # files and folders, by the time that one process takes for them
    "browser",
    "faults",
    "field/test_openapi.py",
    "integration/store/test_machine.py",
    "unit/engine/test_demo_model.py",
    "e2e",
    "field",
    "integration/worker",
    "integration/webhooks",
    "integration/batches",
    "integration/openai",
    "unit/engine",
)
# Whose tests use one set of servers for the whole run.
SHARING = {
    "gallery": ("browser/test_accessible.py",),  # which has servers of its own
    "browser": ("browser/",),
    "field": ("field/test_clients.py", "field/test_rows.py", "field/test_surface.py"),
}


def rank(path: Path) -> int:
    """The files with the lowest come first."""
    name = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else ""
    matches = (n for n, start in enumerate(LONGEST) if name.startswith(start))
    return next(matches, len(LONGEST))


class Together(LoadFileScheduling):
    """`--dist loadfile`, but files that share servers go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        name = file.removeprefix("tests/")
        return next((key for key, files in SHARING.items() if name.startswith(files)), file)
