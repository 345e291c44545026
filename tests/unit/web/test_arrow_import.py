"""A process that writes its first Parquet file serves others while it imports Arrow."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import sys
from gevent.monkey import get_original
thread = get_original("_thread", "get_ident")
main, imported_in = thread(), set()

class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("pyarrow."):
            imported_in.add(thread())

sys.meta_path.insert(0, Recorder())
from web.jobs.result_parquet import parquet_pieces
from types import SimpleNamespace
table = SimpleNamespace(inputs=[], ours={"text": "text"}, column_type=lambda name: "string")
assert b"PAR1" in b"".join(parquet_pieces([], table, {}))
print(len(imported_in), main in imported_in)
"""


def test_arrow_is_imported_in_a_thread_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["1", "False"], done.stdout + done.stderr
